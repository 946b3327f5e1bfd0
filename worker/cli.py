"""`pprm`: one command line for everything. Each command is a thin call; imports that take seconds wait until they are needed."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from worker import settings as settings_module
from worker.settings import Settings, SettingsError

cli = typer.Typer(
    name="pprm",
    help="Streaming recommendations: Kafka events in, new lists out, milliseconds later. Start with `pprm demo`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_cli = typer.Typer(help="Create the topics, or check those that exist.", no_args_is_help=True)
config_cli = typer.Typer(help="Look at the settings.", no_args_is_help=True)
cli.add_typer(topics_cli, name="topics")
cli.add_typer(config_cli, name="config")

errors = Console(stderr=True)

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="PPRM_CONFIG", help="Settings file, TOML. Flags and PPRM_... win over it."),
]
Broker = Annotated[
    str | None, typer.Option("--broker", metavar="HOST:PORT", help="Kafka to talk to, instead of the setting.")
]


def _settings(config: Path | None, **flags: dict[str, Any]) -> Settings:
    """Settings with the flags that were given; a wrong one ends the command with a readable message."""
    given = {section: {k: v for k, v in values.items() if v is not None} for section, values in flags.items()}
    try:
        if config:
            settings_module.use_file(config)
        return settings_module.load({section: values for section, values in given.items() if values})
    except SettingsError as error:
        fail(str(error))


def fail(message: str) -> Any:
    """End the command with a message and exit code 2."""
    errors.print(f"[bold red]error:[/] {message}", highlight=False)
    raise typer.Exit(2)


@cli.command()
def worker(
    config: Config = None,
    broker: Broker = None,
    state: Annotated[Path | None, typer.Option(help="Directory of the RocksDB tables, one per worker.")] = None,
    model: Annotated[Path | None, typer.Option(help="Artifact directory made by `pprm train`.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of /metrics, /live and /ready; 0 takes a free one.")] = None,
) -> None:
    """Run a worker until it is stopped (SIGTERM, Ctrl-C).

    It needs the topics (`pprm topics create`). Start as many as there are partitions: they share them out. Metrics and
    health are on http://127.0.0.1:9464 (/metrics, /live, /ready). Everything else is a setting: `pprm config show`.
    """
    settings = _settings(
        config,
        kafka={"bootstrap_servers": broker},
        state={"directory": state},
        model={"directory": model, "device": device},
        http={"port": port},
    )
    from worker.app import run

    run(settings)


@cli.command()
def demo(
    households: Annotated[str, typer.Option(metavar="N|all", help="How many households take part.")] = "300",
    events: Annotated[int | None, typer.Option(min=1, help="Stop after so many replayed events.")] = None,
    rate: Annotated[str | None, typer.Option(metavar="R|max", help="Replayed events per second.")] = None,
    broker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Kafka of yours, not the embedded broker.")
    ] = None,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Live view, or plain progress lines.")] = True,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Real purchases through a real worker: watch recommendations change.

    Starts an embedded broker and a worker, publishes a year of grocery purchases until October as a backfill, replays
    November and December in time order, and compares every basket with the list that was published before it.
    """
    from worker.demo.run import DemoOptions, run

    options = DemoOptions(
        households=None if households == "all" else _number(households, "--households"),
        events=events,
        rate=None if rate in (None, "max") else float(_number(rate or "", "--rate")),
        broker=broker,
        ui=ui,
        report=report,
    )
    raise typer.Exit(run(options))


def _number(text: str, option: str) -> int:
    if not text.isdigit() or int(text) < 1:
        fail(f"{option} takes a positive whole number or a word from its help, not {text!r}")
    return int(text)


@config_cli.command("show")
def config_show(config: Config = None) -> None:
    """Print all settings as they are now, secrets masked, with the environment variable of each."""
    from worker.settings import describe

    Console().print(describe(_settings(config)))


def main() -> None:
    """Entry point of the console script."""
    cli()


if __name__ == "__main__":
    main()
