"""`pprm`: one command line for everything.

The commands with their names and their order; what each does is in `worker.cli.commands`.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from worker.cli.commands import administration, config, messages, model, run
from worker.cli.errors import errors
from worker.ops import extras

cli = typer.Typer(
    name="pprm",
    help="Streaming recommendations: Kafka events in, new lists"
    " out, milliseconds later. Start with `pprm demo`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    run.worker,
    run.broker,
    run.demo,
    model.train,
    model.evaluate,
    messages.backfill,
    messages.refresh,
    administration.repartition,
    messages.tail,
):
    cli.command()(command)

topics_cli = typer.Typer(help="Create the topics, or check those that exist.", no_args_is_help=True)
topics_cli.command()(administration.create)
topics_cli.command()(administration.check)
topics_cli.command("acls")(administration.print_acls)
config_cli = typer.Typer(help="Look at the settings.", no_args_is_help=True)
config_cli.command()(config.show)
cli.add_typer(topics_cli, name="topics")
cli.add_typer(config_cli, name="config")
cli.add_typer(
    typer.Typer(
        cls=messages.SendGroup,
        no_args_is_help=True,
        help="Publish events, checked against their schema first:"
        " one from its fields, or many as JSON lines.",
        epilog="pprm send purchases --user 1 --product 826249 --quantity 2",
    ),
    name="send",
)


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
