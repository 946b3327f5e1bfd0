"""What an operator does to the topics: create, check, acls, repartition."""

from typing import Annotated

import typer

from worker import settings as settings_module
from worker.cli.errors import converse
from worker.cli.options import Broker, Config, settings_of


def create(config: Config = None, broker: Broker = None) -> None:
    """Create the topics that are missing: partitions, replication and compaction as designed."""
    from worker.kafka import topics

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    created = converse(
        topics.create(settings_module.client_settings(settings.kafka), topics.plan(settings))
    )
    for name in created:
        typer.echo(f"created {name}")
    if not created:
        typer.echo("all topics exist; `pprm topics check` compares them with the design")


def check(config: Config = None, broker: Broker = None) -> None:
    """Compare the topics on the broker with the design; exit code 1 where they differ."""
    from worker.kafka import topics

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    problems = converse(
        topics.check(settings_module.client_settings(settings.kafka), topics.plan(settings))
    )
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("all topics are as designed")


def print_acls(
    config: Config = None,
    broker: Broker = None,
    principal: Annotated[str, typer.Option(help="Whom to allow it.")] = "User:pprm",
) -> None:
    """Print the commands that allow a worker all that it needs, and nothing more."""
    from worker.kafka import acls

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    for line in acls.script(settings, principal):
        typer.echo(line)


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

    settings = settings_of(config, kafka={"bootstrap_servers": broker})
    converse(moving.run(settings, partitions, typer.echo))
