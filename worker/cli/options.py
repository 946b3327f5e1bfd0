"""The options that several commands take, and what they stand for: settings, a source of data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pprm.data import DATASETS
from worker import settings as settings_module
from worker.cli.errors import fail
from worker.settings import Settings, SettingsError

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
    typer.Option(help=f"{', '.join(DATASETS)}: complete-journey is bundled, table is your own."),
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


def settings_of(config: Path | None, **flags: dict[str, Any]) -> Settings:
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


def source_of(
    dataset: str,
    files: list[Path] | None,
    tables: tuple[Path | None, Path | None, Path | None] = (None, None, None),
    vectors: Path | None = None,
    strict: bool = False,
) -> Any:
    """Read where the data is from the options; a wrong combination ends the command.

    `tables` are events, products and users.
    """
    from pprm.data.source import Source

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
    wanted = DATASETS[dataset].files
    if bool(files) != bool(wanted):
        fail(
            f"{dataset} is read from {', '.join(wanted)}: --file for each, as in docs/data.md"
            if wanted
            else f"{dataset} has no files; every other dataset is read from its own"
        )
    return Source(dataset, tuple(files or ()), vectors, strict)
