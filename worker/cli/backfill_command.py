"""The job of `pprm backfill`.

It looks what the topics hold, reads and sorts the tables, and publishes what is missing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console

from pprm.data import table
from pprm.data.files import TableError, bar, counting
from pprm.data.rows import Rows
from pprm.data.vectors import added
from worker.cli import backfill, published
from worker.cli.published import Published

EXPECTED = (TableError, OSError)
"""Errors that are reported without a traceback."""


class Tables(NamedTuple):
    """What is published."""

    events: Path
    products: Path
    users: Path | None = None
    vectors: Path | None = None
    strict: bool = False
    since: str | None = None


async def run(
    tables: Tables,
    clients: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
    topic_of: Callable[[str], str],
    console: Console,
) -> None:
    """Publish tables.

    Args:
        tables: what to publish.
        clients: keyword arguments of an aiokafka client that reads, and of one that writes; None:
            only check.
        topic_of: name of a family's topic.
        console: where the report goes.

    Raises:
        TableError: the tables cannot be used; nothing is published.
        TopicsError: a topic is missing, or has lost its beginning; nothing is published.
        OSError: the disk is full, for instance; nothing is published.
        KafkaError: the broker has gone; what was published stays, and is not published again by the
        next run.
    """
    since, there = _since(tables.since), Published()
    if clients:
        await published.require(clients[0], topic_of, backfill.FAMILIES)
        with counting(console, "looking what is there") as on_progress:
            there = await published.read(
                clients[0], topic_of, on_progress, is_known=tables.since is not None
            )
    with TemporaryDirectory(prefix="pprm-backfill-") as directory:
        with bar(console, "reading and sorting") as on_progress:
            past = backfill.prepare(_rows(tables, on_progress), Path(directory), since)
        if not clients:
            counts, held = Counter(family for family, _ in past.messages()), Counter[str]()
        else:
            with counting(console, "publishing") as on_progress:
                counts, held = await backfill.publish(
                    clients[1], topic_of, past, there, on_progress
                )
    console.print(str(past.report), markup=False, highlight=False, soft_wrap=True)
    what = "published" if clients else "would be published"
    for family in (family for family in backfill.FAMILIES if counts[family] or held[family]):
        known = f", {held[family]:,} were there" if held[family] else ""
        console.print(
            f"{topic_of(family)}: {counts[family]:,} {what}{known}", markup=False, highlight=False
        )
    if clients and counts.total():
        console.print(
            "Nobody has a list of what is not answered: pprm"
            " refresh --all, once the worker has folded it.",
            highlight=False,
        )


def _rows(tables: Tables, on_progress: Callable[[int, int | None], None]) -> Rows:
    rows = table.read(tables.events, tables.products, tables.users, on_progress, tables.strict)
    return replace(rows, products=added(rows.products, tables.vectors)) if tables.vectors else rows


def _since(text: str | None) -> int:
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TableError(
            f"--since takes a time such as 2026-03-01T00:00:00Z, not {text!r}"
        ) from None
    if moment.tzinfo is None:
        raise TableError(f"--since {text} has no time zone: end it with Z for UTC")
    return int(moment.timestamp())
