"""`pprm`: one command line for everything.

Each command is a thin call; slow imports wait until they are needed.
"""

import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from typer.core import TyperGroup

from worker import settings as settings_module
from worker.ops import extras
from worker.settings import Settings, SettingsError

T = TypeVar("T")

cli = typer.Typer(
    name="pprm",
    help="Streaming recommendations: Kafka events in, new lists"
    " out, milliseconds later. Start with `pprm demo`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_cli = typer.Typer(help="Create the topics, or check those that exist.", no_args_is_help=True)
config_cli = typer.Typer(help="Look at the settings.", no_args_is_help=True)
cli.add_typer(topics_cli, name="topics")
cli.add_typer(config_cli, name="config")

errors = Console(stderr=True)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pprm {version('pprm-worker')}")
        raise typer.Exit


@cli.callback(help=cli.info.help)
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What all commands take."""


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="PPRM_CONFIG",
        help="Settings file, TOML. Flags and PPRM_... win over it.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "--bootstrap-server",
        metavar="HOST:PORT",
        help="Kafka to talk to, instead of the setting.",
    ),
]

DatasetName = Annotated[
    str,
    typer.Option(
        help="complete-journey (bundled), rees46, taobao,"
        " google-merchandise, yelp, table (your own)."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse a row that cannot be used, instead of leaving it out and saying so.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", help="A file of the dataset, as docs/data.md lists them; once for each."
    ),
]


def _settings(config: Path | None, **flags: dict[str, Any]) -> Settings:
    """Settings with the flags that were given.

    A wrong one ends the command with a readable message.
    """
    given = {
        section: {k: v for k, v in values.items() if v is not None}
        for section, values in flags.items()
    }
    try:
        if config:
            settings_module.use_file(config)
        return settings_module.load(
            {section: values for section, values in given.items() if values}
        )
    except SettingsError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the command with a message and exit code 2."""
    errors.print("[bold red]error:[/] ", end="")
    errors.print(message, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(2)


@cli.command()
def worker(
    config: Config = None,
    broker: Broker = None,
    state: Annotated[
        Path | None, typer.Option(help="Directory of the RocksDB tables, one per worker.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Artifact directory made by `pprm train`.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of /metrics, /live and /ready; 0 takes a free one.")
    ] = None,
) -> None:
    """Run a worker until it is stopped (SIGTERM, Ctrl-C).

    It needs the topics (`pprm topics create`). Start as many as there are partitions: they share
    them out. Metrics and health are on http://127.0.0.1:9464 (/metrics, /live, /ready). Everything
    else is a setting: `pprm config show`.
    """
    settings = _settings(
        config,
        kafka={"bootstrap_servers": broker},
        state={"directory": state},
        model={"directory": model, "device": device},
        http={"port": port},
    )
    # imports leave no garbage, and a quarter of their time would go into looking for it
    gc.disable()
    from worker.app import run

    gc.freeze()
    gc.enable()
    run(settings)


@cli.command("broker")
def run_broker(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1.")] = 9092,
) -> None:
    """Run the embedded broker until Ctrl-C: to try things out without a Kafka, on this machine.

    Never for real events: it keeps all in memory, has no transactions (delivery = exactly_once),
    and librdkafka 2.0 (Debian 12's kcat) cannot talk to it. Then, in another terminal:

    pprm topics create && pprm worker
    """
    from worker.kafka import embedded

    # its own process must not outlive this one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with embedded.process(port=port) as (address, running):
            typer.echo(f"The embedded broker is on {address}, until Ctrl-C; it keeps nothing.")
            code = running.wait()
    except embedded.EmbeddedBrokerError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    fail(f"the embedded broker ended with code {code}")


@cli.command()
def demo(
    households: Annotated[
        str, typer.Option(metavar="N|all", help="How many shoppers take part.")
    ] = "300",
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    strict: Strict = False,
    model: Annotated[
        Path | None, typer.Option(help="Artifact made by `pprm train`; else the bundled one.")
    ] = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many replayed events.")
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R|max", help="Replayed events per second; 100 in the live view, else max."
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            "--bootstrap-server",
            metavar="HOST:PORT",
            help="A Kafka of yours, not the embedded broker.",
        ),
    ] = None,
    ui: Annotated[
        bool, typer.Option("--ui/--no-ui", help="Live view, or plain progress lines.")
    ] = True,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Real purchases through a real worker: watch recommendations change.

    Starts an embedded broker and a worker, publishes a year of grocery purchases until November as
    a backfill, replays December in time order, and compares every basket with the list that was
    published before it. The last eighth of another shop's baskets is replayed with --dataset, the
    files that you have downloaded, and a
    --model of it:

    pprm demo --dataset table --file events.csv --file products.csv --model my-model
    """
    from worker.demo.run import DemoOptions, run

    options = DemoOptions(
        households=None if households == "all" else _number(households, "--households"),
        source=_source(dataset, file, strict=strict),
        model=model,
        events=events,
        rate=_rate(rate, ui and sys.stdout.isatty()),
        broker=broker,
        ui=ui,
        report=report,
    )
    raise typer.Exit(run(options))


WATCHABLE = 100.0
"""Events per second that a person can follow."""


def _rate(rate: str | None, watched: bool) -> float | None:
    if rate is None:
        return WATCHABLE if watched else None
    return None if rate == "max" else float(_number(rate, "--rate"))


def _number(text: str, option: str) -> int:
    if not text.isdigit() or int(text) < 1:
        fail(f"{option} takes a positive whole number or a word from its help, not {text!r}")
    return int(text)


Events = Annotated[
    Path | None, typer.Option(help="Your own shop: table of events (docs/data.md), CSV or parquet.")
]
Products = Annotated[Path | None, typer.Option(help="Table of products; goes with --events.")]
Users = Annotated[Path | None, typer.Option(help="Table of shoppers; may be missing.")]
Vectors = Annotated[
    Path | None,
    typer.Option(
        help="Vectors of products, of their images for instance, read instead of their texts."
    ),
]


def _source(
    dataset: str,
    files: list[Path] | None,
    tables: tuple[Path | None, Path | None, Path | None] = (None, None, None),
    vectors: Path | None = None,
    strict: bool = False,
) -> Any:
    """Read where the data is from the options; a wrong combination ends the command.

    `tables` are events, products and users.
    """
    from pprm.data import DATASETS
    from pprm.data.source import BUNDLED, Source

    events, products, _ = tables
    if any(tables):
        if not (events and products):
            fail(
                "--events and --products go together; --users"
                " may be missing. The format is in docs/data.md"
            )
        return Source("table", tuple(path for path in tables if path), vectors, strict)
    if dataset not in DATASETS:
        fail(f"datasets: {', '.join(DATASETS)}; or --events and --products")
    if bool(files) == (dataset == BUNDLED):
        fail(
            f"{BUNDLED} has no files; every other dataset is read"
            " from its own: --file for each, as in docs/data.md"
        )
    return Source(dataset, tuple(files or ()), vectors, strict)


@cli.command()
def train(
    out: Annotated[Path, typer.Option(help="Directory to write the artifact to.")],
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    events: Events = None,
    products: Products = None,
    users: Users = None,
    vectors: Vectors = None,
    strict: Strict = False,
    model: Annotated[
        str, typer.Option(help="pprm-s, or paper: the network and training exactly as published.")
    ] = "pprm-s",
    start: Annotated[
        Path | None, typer.Option(help="Artifact of another shop to learn on from.")
    ] = None,
    visits: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn from so many visits at most, drawn at random: less time and memory."
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed gives the same weights and lists; the artifact's"
            " hash differs, since its figures of time and memory do."
        ),
    ] = 0,
    encoder: Annotated[
        Path | None, typer.Option(help="BERT directory; the bundled one where not given.")
    ] = None,
) -> None:
    """Train PPRM and write an artifact that `pprm worker --model` serves.

    Replays the events through the worker's own fold, learns, judges on the last quarter of the
    baskets, says whether the model beats a shop without one, and writes weights, text vectors,
    tables, figures, model card and hashes. Its cost is printed when the data is read: nine
    minutes of an idle core and 7 GiB for the bundled data.

    pprm train --out my-model --events events.csv --products products.csv
    """
    from pprm.data.files import TableError
    from pprm.serving.artifact import ArtifactError
    from pprm.training import train as training

    if model not in training.MODELS:
        fail(f"models: {', '.join(training.MODELS)}")
    try:
        source = _source(dataset, file, (events, products, users), vectors, strict)
        job = training.Job(source, model, seed, encoder, start, visits)
        training.run(job, out, _wide())
    except (TableError, ArtifactError) as error:
        fail(str(error))


def _wide() -> Console:
    """For tables, which a file or a pipe takes whole, as wide as they are."""
    return Console(width=None if sys.stdout.isatty() else 140)


@cli.command()
def evaluate(
    artifact: Annotated[
        Path | None, typer.Argument(help="Artifact directory; else the bundled one.")
    ] = None,
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    events: Events = None,
    products: Products = None,
    users: Users = None,
    vectors: Vectors = None,
    strict: Strict = False,
    models: Annotated[
        str,
        typer.Option(
            help="What to judge beside it: baselines, first-stage,"
            " second-stage, young, frozen, unseen; or all."
        ),
    ] = "",
    encoder: Annotated[
        Path | None, typer.Option(help="BERT directory, for texts the artifact does not know.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the figures as a Markdown table.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the table as a PNG.")] = None,
) -> None:
    """Judge an artifact: NDCG, recall, hit rate of the first 10, all and new products.

    Accuracy, precision and recall of decisions are judged, too.

    What a shop has without a model stands beside it (popularity in three windows, own frequency
    with popularity, looked at last), and a sentence says whether the model beats that: about four
    minutes. With --models all, every baseline and every variant learns first: about an hour. Data
    of another shop than the artifact's gives the zero-shot figures.
    """
    from pprm.data.files import TableError
    from pprm.evaluation import report as reporting
    from pprm.experiments import compare
    from pprm.serving.artifact import ArtifactError

    kinds = compare.MODELS if models == "all" else tuple(filter(None, models.split(",")))
    if not set(kinds) <= set(compare.MODELS):
        fail(f"models: {', '.join(compare.MODELS)}, all")
    try:
        directory = artifact or settings_module.Model().directory
        source = _source(dataset, file, (events, products, users), vectors, strict)
        results = compare.run(directory, source, encoder, kinds, _wide())
    except (TableError, ArtifactError) as error:
        fail(str(error))
    if report:
        report.write_text(json.dumps(results, indent=2) + "\n")
    if table:
        table.write_text(reporting.markdown(results))
    if plot:
        reporting.plot(results, plot)


@cli.command()
def backfill(
    events: Annotated[Path, typer.Option(help="Table of events (docs/data.md), CSV or parquet.")],
    products: Annotated[Path, typer.Option(help="Table of products.")],
    users: Users = None,
    vectors: Vectors = None,
    strict: Strict = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read, check and sort the tables; publish nothing.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Leave out what is older, e.g. 2026-03-01T00:00:00Z."),
    ] = None,
    config: Config = None,
    broker: Broker = None,
) -> None:
    """Publish a shop's tables to the topics.

    Products, users, then events in the order of their time.

    All rows are read and checked before the first is published, and events that the topics hold are
    not published again: after a failure, or when the tables have grown, run it again. Rows are
    sorted in a temporary directory (TMPDIR), which takes as much as the messages. Set
    PPRM_RECOMMENDATIONS__SCORE_FROM to where the past ends, so that the worker folds it without
    answering.
    """
    from worker.cli import backfill_command
    from worker.kafka.partitioner import producer_settings

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    tables = backfill_command.Tables(events, products, users, vectors, strict, since)
    clients = (
        None
        if check
        else (settings_module.client_settings(settings.kafka), producer_settings(settings))
    )
    try:
        _kafka(backfill_command.run(tables, clients, settings.topics.name, Console()))
    except backfill_command.EXPECTED as error:
        fail(str(error))


@cli.command()
def refresh(
    users: Annotated[
        list[str] | None,
        typer.Argument(help="Shoppers; one whom nobody knows gets what is popular."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every shopper whom the worker knows.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As of when, e.g. 2026-03-01T08:00:00Z; now if absent."),
    ] = None,
    config: Config = None,
    broker: Broker = None,
) -> None:
    """Ask the workers for new lists: after a backfill, for instance, or in the morning.

    A request goes to the topic `requests` for each shopper, and the list comes on the topic of
    lists like any other. A list is as of the time given, or of the shopper's last event where that
    is later. No more requests are on their way than the workers answer in about a second; what
    shoppers do meanwhile waits that much longer. Ends when all are answered.
    """
    from worker.cli import refresh as asking

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    try:
        _kafka(asking.run(settings, users or [], every, asking.moment(settings, at), Console()))
    except ValueError as error:
        fail(str(error))


@topics_cli.command("create")
def topics_create(config: Config = None, broker: Broker = None) -> None:
    """Create the topics that are missing: partitions, replication and compaction as designed."""
    from worker.kafka import topics

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    created = _kafka(
        topics.create(settings_module.client_settings(settings.kafka), topics.plan(settings))
    )
    for name in created:
        typer.echo(f"created {name}")
    if not created:
        typer.echo("all topics exist; `pprm topics check` compares them with the design")


@topics_cli.command("check")
def topics_check(config: Config = None, broker: Broker = None) -> None:
    """Compare the topics on the broker with the design; exit code 1 where they differ."""
    from worker.kafka import topics

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    problems = _kafka(
        topics.check(settings_module.client_settings(settings.kafka), topics.plan(settings))
    )
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("all topics are as designed")


@topics_cli.command("acls")
def topics_acls(
    config: Config = None,
    broker: Broker = None,
    principal: Annotated[str, typer.Option(help="Whom to allow it.")] = "User:pprm",
) -> None:
    """Print the commands that allow a worker all that it needs, and nothing more."""
    from worker.kafka import acls

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    for line in acls.script(settings, principal):
        typer.echo(line)


@cli.command()
def repartition(
    partitions: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many the user-keyed topics will have.")
    ],
    config: Config = None,
    broker: Broker = None,
) -> None:
    """Give the user-keyed topics more partitions, and move every shopper's state to its new one.

    Stop the producers, wait until the workers have read all, and stop them; the command says what
    is still in the way. Killed in the middle, run it again: nothing is lost or counted twice.
    docs/operations.md has the steps.
    """
    from worker.cli import repartition as moving

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    _kafka(moving.run(settings, partitions, typer.echo))


class _SendGroup(TyperGroup):
    """A command for each topic, with its fields as options.

    Made when it is asked for, since schemas take a while.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        from schemas.families import READ

        return list(READ)

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in self.list_commands(ctx):
            return None
        from worker.cli.send_options import command

        app = typer.Typer(add_completion=False)
        app.command(name)(
            command(name, _send, {"config": Config, "broker": Broker, "file": SendFile})
        )
        return typer.main.get_command(app)


SendFile = Annotated[
    Path | None,
    typer.Option("--file", help="JSON lines to send; - reads them from standard input."),
]
cli.add_typer(
    typer.Typer(
        cls=_SendGroup,
        no_args_is_help=True,
        help="Publish events, checked against their schema first:"
        " one from its fields, or many as JSON lines.",
        epilog="pprm send purchases --user 1 --product 826249 --quantity 2",
    ),
    name="send",
)


def _send(
    family: str, given: dict[str, Any], config: Path | None, broker: str | None, file: Path | None
) -> None:
    from worker.cli import send as sending
    from worker.kafka.partitioner import producer_settings

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    try:
        if file:
            lines = sys.stdin.buffer if str(file) == "-" else file.read_bytes().splitlines()
            messages = sending.parse_lines(family, lines)
        else:
            messages = [sending.compose(family, given)]
    except (sending.SendError, OSError) as error:
        fail(str(error))

    async def publish() -> None:
        client = producer_settings(settings)
        async for sent in sending.send(client, settings.topics.name(family), messages):
            typer.echo(f"{sent.topic} partition {sent.partition} offset {sent.offset}")

    _kafka(publish())


@cli.command()
def tail(
    topic: Annotated[
        str, typer.Argument(help="recommendations, dead-letters, or an input topic.")
    ] = "recommendations",
    config: Config = None,
    broker: Broker = None,
    user: Annotated[str | None, typer.Option(help="Only this shopper.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show what is already there, too.")
    ] = False,
) -> None:
    """Watch a topic: a live table on a terminal, with the products' titles; JSON lines into a pipe.

    Ctrl-C ends it.
    """
    from worker.cli import tail as tailing

    settings = _settings(config, kafka={"bootstrap_servers": broker})
    client = settings_module.client_settings(settings.kafka)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is gone is told once
    try:
        watched = settings.topics.name(_family(topic))
        _kafka(
            tailing.tail(client, watched, settings.topics.name("products"), user, from_beginning)
        )
    except (LookupError, ConnectionError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _family(topic: str) -> str:
    from schemas.families import FAMILIES

    family = topic.replace("-", "_")
    if family not in FAMILIES:
        fail(f"{topic!r} is none of {', '.join(family.topic for family in FAMILIES.values())}")
    return family


def _kafka(work: Coroutine[Any, Any, T]) -> T:
    """Run a conversation with the broker; its absence is a readable error."""
    from aiokafka.errors import KafkaError

    from worker.kafka.topics import TopicsError

    try:
        return asyncio.run(work)
    except TopicsError as error:
        fail(str(error))
    except KafkaError as error:
        fail(f"{error}. Is the broker where kafka.bootstrap_servers (--broker) says?")


@config_cli.command("show")
def config_show(config: Config = None) -> None:
    """Print all settings as they are now, secrets masked, with the environment variable of each."""
    from worker.settings import describe

    described = describe(_settings(config))
    # into a file or a pipe each setting stays on one line, which grep finds
    wide = None if sys.stdout.isatty() else console_width(described)
    Console(width=wide).print(described)


def console_width(shown: RenderableType) -> int:
    """Columns that something takes where nothing is wrapped."""
    unbounded = Console(width=100_000)
    return unbounded.measure(shown).maximum


def main() -> None:
    """Run a command; a package that it needs and that is missing is named with its extra."""
    try:
        cli()
    except ModuleNotFoundError as error:
        errors.print(
            f"[bold red]error:[/] {escape(extras.words(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
