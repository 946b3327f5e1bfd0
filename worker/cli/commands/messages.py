"""What goes into the topics and comes out: backfill, refresh, send, tail."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from worker import settings as settings_module
from worker.cli.errors import converse, fail
from worker.cli.options import Broker, Config, Strict, Users, Vectors, settings_of

SendFile = Annotated[
    Path | None,
    typer.Option("--file", help="JSON lines to send; - reads them from standard input."),
]


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

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    tables = backfill_command.Tables(events, products, users, vectors, strict, since)
    clients = (
        None
        if check
        else (settings_module.client_settings(settings.kafka), producer_settings(settings))
    )
    try:
        converse(backfill_command.run(tables, clients, settings.topics.name, Console()))
    except backfill_command.EXPECTED as error:
        fail(str(error))


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

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    try:
        converse(asking.run(settings, users or [], every, asking.moment(settings, at), Console()))
    except ValueError as error:
        fail(str(error))


class SendGroup(TyperGroup):
    """A command for each topic, with its fields as options.

    Made when it is asked for, since schemas take a while.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The topics that anybody may write to."""
        from schemas.families import READ

        return list(READ)

    def get_command(self, ctx: Any, name: str) -> Any:
        """The command of one topic; None where there is no such topic."""
        if name not in self.list_commands(ctx):
            return None
        from worker.cli.send_options import command

        app = typer.Typer(add_completion=False)
        app.command(name)(
            command(name, _send, {"config": Config, "broker": Broker, "file": SendFile})
        )
        return typer.main.get_command(app)


def _send(
    family: str, given: dict[str, Any], config: Path | None, broker: str | None, file: Path | None
) -> None:
    from worker.cli import send as sending
    from worker.kafka.partitioner import producer_settings

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
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

    converse(publish())


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

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    client = settings_module.client_settings(settings.kafka)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is gone is told once
    try:
        watched = settings.topics.name(_family(topic))
        converse(
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
