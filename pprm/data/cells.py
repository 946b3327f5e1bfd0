"""Cells of a table, from text as in CSV or typed as in parquet.

Each function reads one kind.

All raise `Unusable`, which names the rule. The limits are those of the worker's topics
(`schemas.limits`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from pprm.data.files import Note
from pprm.data.reading_report import Unusable

MAX_ID_BYTES = 128
EARLIEST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LATEST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
AHEAD = 300
"""Seconds by which an event may lie ahead of the clock: clocks differ."""
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
NOTHING = frozenset({"", "NULL", "null", "NaN", "nan", "<NA>", "#N/A", "\\N"})
"""What databases, pandas and spreadsheets write where there is nothing."""
NO_ID = frozenset({"None", "none", "N/A", "undefined"})
"""What the same sources write for a missing id. In a text these may be its words."""
SMALLER = {"milliseconds": 1000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}

_FORMER_NUMBER = re.compile(r"-?\d+\.0+|-?\d(\.\d+)?[eE]\+\d+")
"""An id that was once read as a number: `266079.0`, `1e+17`."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d(Z|[+-]\d\d:?\d\d)?")
_DATE_LENGTH = len("2026-03-01+00:00")


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, null, NaN, or a word for it."""
    return cell in NOTHING if type(cell) is str else cell is None or bool(cell != cell)


def text(cell: Any) -> str:
    """A cell as text; lists are joined by commas."""
    if type(cell) is str:  # as nearly all are
        return "" if cell in NOTHING else cell
    if is_missing(cell):
        return ""
    if isinstance(cell, bytes):
        return _decoded(cell)
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, Mapping):
        raise Unusable("a cell holds a structure: give each of its fields a column of its own")
    if isinstance(cell, list | tuple):
        return ", ".join(filter(None, map(text, cell)))
    return str(cell)


def path(cell: Any, separator: str) -> list[str]:
    """The parts of a path: of a text with a separator between them, or of a list."""
    parts = cell if isinstance(cell, list | tuple) else text(cell).split(separator)
    return [part for part in (text(part).strip() for part in parts) if part]


def identity(name: str, cell: Any) -> str:
    """Read an id: text, UTF-8 bytes, or a whole number.

    Another number has lost what it was (`12.0`, `1e+17`).
    """
    if (
        type(cell) is not str
        and not is_missing(cell)
        and isinstance(cell, bool | float | list | tuple | Mapping)
    ):
        raise Unusable(f"{name} must be text or a whole number: store ids as such", cell)
    value = text(cell)
    if not value or len(value.encode()) > MAX_ID_BYTES or value in NO_ID:
        raise Unusable(
            f"{name} must be 1 to {MAX_ID_BYTES} bytes of UTF-8", "" if cell is None else cell
        )
    if ("." in value or "+" in value) and _FORMER_NUMBER.fullmatch(value):
        raise Unusable(
            f"{name} looks like a number that was an id: export ids as text or whole numbers", value
        )
    return value


def id_or_nothing(name: str, cell: Any) -> str:
    """An id that may be missing."""
    return "" if is_missing(cell) else identity(name, cell)


def number(name: str, cell: Any, low: float, high: float) -> float | None:
    """A number within bounds; None where the cell is missing."""
    if is_missing(cell):
        return None
    try:
        value = float(text(cell))
    except ValueError:
        raise Unusable(f"{name} must be a number", text(cell)) from None
    if not low <= value <= high:  # a NaN is not within, either
        raise Unusable(f"{name} must be from {low:g} to {high:g}", cell)
    return value


def price(name: str, cell: Any, note: Note) -> float | None:
    """Read a price, which nothing is learned from.

    One that cannot be used costs no row, and is left empty.
    """
    try:
        return number(name, cell, 0, 1e9)
    except Unusable as error:
        note(error)
        return None


def flag(name: str, cell: Any) -> bool:
    """True or false; true where the cell is missing."""
    if is_missing(cell):
        return True
    value = FLAGS.get(text(cell).lower())
    if value is None:
        raise Unusable(f"{name} must be true or false", text(cell))
    return value


def seconds(name: str, cell: Any) -> int:
    """Read a time as Unix seconds.

    It may be a number, RFC 3339 text, or a timestamp (UTC where it has no zone).
    """
    if isinstance(cell, datetime):
        value = (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    else:
        value = _parsed_seconds(name, cell)
    if EARLIEST <= value < LATEST:
        return int(value)
    for unit, many in SMALLER.items():
        if EARLIEST <= value / many < LATEST:
            raise Unusable(f"{name} is in {unit}: divide it by {many}", cell)
    raise Unusable(f"{name} must lie between 2000 and 2100, in seconds since 1970", cell)


def past(name: str, cell: Any, now: float) -> int:
    """`seconds` of what has happened by `now`, Unix seconds."""
    value = seconds(name, cell)
    if value > now + AHEAD:
        raise Unusable(f"{name} lies ahead of this computer's clock", cell)
    return value


def _parsed_seconds(name: str, cell: Any) -> float:
    if is_missing(cell):
        raise Unusable(f"{name} is missing")
    written = cell.isoformat() if isinstance(cell, date) else text(cell)
    if written[4:5] != "-":
        try:
            return float(written)
        except ValueError:
            pass
    if len(written) <= _DATE_LENGTH and _DATE.fullmatch(written):
        raise Unusable(
            f"{name} must have a time of day and a zone, as in 2024-05-31T00:00:00Z", written
        )
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise Unusable(
            f"{name} must be like 2024-05-31T18:00:00Z, or seconds since 1970", written
        ) from None
    if moment.tzinfo is None:
        raise Unusable(
            f"{name} has no time zone: end it with Z for UTC, or with an offset such as +02:00",
            written,
        )
    return moment.timestamp()


def _decoded(cell: bytes) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise Unusable("a cell of bytes is not UTF-8", cell) from None
