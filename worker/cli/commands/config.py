"""A look at the settings: config show."""

import sys

from rich.console import Console, RenderableType

from worker.cli.options import Config, settings_of


def show(config: Config = None) -> None:
    """Print all settings as they are now, secrets masked, with the environment variable of each."""
    from worker.settings import describe

    described = describe(settings_of(config))
    # into a file or a pipe each setting stays on one line, which grep finds
    wide = None if sys.stdout.isatty() else console_width(described)
    Console(width=wide).print(described)


def console_width(shown: RenderableType) -> int:
    """Columns that something takes where nothing is wrapped."""
    unbounded = Console(width=100_000)
    return unbounded.measure(shown).maximum
