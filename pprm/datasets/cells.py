"""Cells of a table, from text as in CSV or typed as in parquet: each function reads one kind, and says what is wrong.

All raise ValueError. The limits are those of the worker's topics (`schemas.limits`).
"""

from datetime import UTC, datetime
from typing import Any

MAX_ID_BYTES = 128
EARLIEST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LATEST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, null or NaN."""
    return cell is None or cell == "" or cell != cell


def text(cell: Any) -> str:
    """Any cell as text."""
    return "" if is_missing(cell) else str(cell)


def identity(name: str, cell: Any) -> str:
    """An id: text, or a whole number. Another number has lost what it was (`12.0`, `1e+17`)."""
    if isinstance(cell, float) and not is_missing(cell):
        raise ValueError(f"{name} {cell} is a number with a fraction: store ids as text or whole numbers")
    value = text(cell)
    if not 1 <= len(value.encode()) <= MAX_ID_BYTES:
        raise ValueError(f"{name} must be 1 to {MAX_ID_BYTES} bytes of UTF-8, not {value[:40]!r}")
    return value


def number(name: str, cell: Any, low: float, high: float) -> float | None:
    """A number within bounds; None where the cell is missing."""
    if is_missing(cell):
        return None
    try:
        value = float(cell)
    except (ValueError, TypeError):
        raise ValueError(f"{name} must be a number, not {str(cell)[:40]!r}") from None
    if not low <= value <= high:  # a NaN is not within, either
        raise ValueError(f"{name} must be from {low:g} to {high:g}, not {value:g}")
    return value


def flag(name: str, cell: Any) -> bool:
    """True or false; true where the cell is missing."""
    if is_missing(cell):
        return True
    value = FLAGS.get(str(cell).lower())
    if value is None:
        raise ValueError(f"{name} must be true or false, not {str(cell)[:40]!r}")
    return value


def seconds(name: str, cell: Any) -> int:
    """A time as Unix seconds: from a number, from RFC 3339 text, or from a timestamp (UTC where it has no zone)."""
    if isinstance(cell, datetime):
        value = (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    else:
        value = _parsed_seconds(name, cell)
    if not EARLIEST <= value < LATEST:
        raise ValueError(f"{name} must lie between 2000 and 2100, in seconds since 1970, not {str(cell)[:40]!r}")
    return int(value)


def _parsed_seconds(name: str, cell: Any) -> float:
    try:
        return float(cell)
    except (ValueError, TypeError):
        pass
    try:
        moment = datetime.fromisoformat(str(cell))
    except ValueError:
        raise ValueError(
            f"{name} must be like 2024-05-31T18:00:00Z, or seconds since 1970, not {str(cell)[:40]!r}"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{name} {cell!r} has no time zone: end it with Z for UTC, or with an offset such as +02:00")
    return moment.timestamp()
