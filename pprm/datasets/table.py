"""The table format: what any shop can export, as CSV (`.csv`, `.csv.gz`) or parquet. docs/data.md is its description.

Events and products are needed, users are not. Files are read row by row, whatever their size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from pprm.datasets.cells import flag, identity, number, seconds, text
from pprm.datasets.dataset import Dataset, Product
from pprm.datasets.files import Lines, Progress, Reading, csv_records, parsed, silent
from pprm.datasets.files import TableError as TableError
from pprm.datasets.rows import Event, Rows, User, collect
from pprm.datasets.table_writer import write_table
from pprm.datasets.vectors import load_vectors as load_vectors
from pprm.events import Kind

T = TypeVar("T")

NAME = "table"
SEPARATOR = " > "
"""Between the parts of a category path."""
BATCH = 8192
"""Rows of parquet in memory at a time."""
EVENT_COLUMNS = ("event_id", *Event._fields)
PRODUCT_COLUMNS = ("product_id", "title", "description", "categories", "brand", "price", "available")
USER_COLUMNS = ("user_id", "text")
KINDS = {kind.name.lower(): kind for kind in Kind if kind is not Kind.NOTHING}


def load(events: Path, products: Path, users: Path | None = None, progress: Progress = silent) -> Dataset:
    """Read a shop's tables.

    Raises:
        TableError: a file is missing, or a row or a column is wrong.
    """
    return collect(NAME, read(events, products, users, progress))


def read(events: Path, products: Path, users: Path | None = None, progress: Progress = silent) -> Rows:
    """The tables as rows; nothing is read before they are asked for."""
    reading = Reading([path for path in (events, products, users) if path], progress)
    return Rows(
        _rows(events, reading, _event),
        _rows(products, reading, _product),
        _rows(users, reading, _user) if users else (),
        reading.left_out,
    )


def write(rows: Rows, events: Path, products: Path, users: Path) -> None:
    """Write rows as tables, each in the format that its file name says. Products and users are held in memory."""
    write_table(events, Event._fields, ({**e._asdict(), "kind": e.kind.name.lower()} for e in rows.events))
    _write_wide(products, PRODUCT_COLUMNS, [_cells(product) for product in rows.products])
    _write_wide(users, USER_COLUMNS, [{**u.attributes, "user_id": u.user_id, "text": u.text} for u in rows.users])


def _write_wide(path: Path, columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    """Attributes have columns of their own, after the others."""
    attributes = {name for record in records for name in record} - set(columns)
    write_table(path, [*columns, *sorted(attributes)], records)


def _cells(product: Product) -> dict[str, Any]:
    fields = product._asdict()
    attributes = fields.pop("attributes")
    del fields["vector"]  # has a file of its own
    return {**attributes, **fields, "categories": SEPARATOR.join(product.categories)}


class _Batches:
    """The rows of a parquet file, some at a time."""

    is_cut = False

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading, self._number = path, reading, 0

    def place(self) -> str:
        return f"row {self._number}"

    def records(self) -> Iterator[dict[str, Any]]:
        size = self.path.stat().st_size
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH):
                for record in batch.to_pylist():
                    self._number += 1
                    yield record
                self.reading.report(self.path, size * self._number // file.metadata.num_rows)


def _rows(path: Path, reading: Reading, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    if path.suffix == ".parquet":
        batches = _Batches(path, reading)
        return parsed(batches, batches.records(), parse)
    lines = Lines(path, reading)
    return parsed(lines, csv_records(lines), parse)


def _event(cells: Mapping[str, Any]) -> Event:
    if unknown := cells.keys() - set(EVENT_COLUMNS):
        raise ValueError(f"unknown column {', '.join(sorted(unknown))}: there are {', '.join(EVENT_COLUMNS)}")
    get = cells.get
    return Event(
        user_id=identity("user_id", cells["user_id"]),
        product_id=identity("product_id", cells["product_id"]),
        occurred_at=seconds("occurred_at", cells["occurred_at"]),
        kind=_kind(text(get("kind"))),
        basket_id=text(get("basket_id")),
        store_id=text(get("store_id")),
        quantity=number("quantity", get("quantity"), 0, 1e6),
        price=number("price", get("price"), 0, 1e9),
        dwell_seconds=number("dwell_seconds", get("dwell_seconds"), 0, 86_400),
        rating=number("rating", get("rating"), 1, 5),
        text=text(get("text")),
        sentiment=number("sentiment", get("sentiment"), -1, 1),
    )


def _kind(name: str) -> Kind:
    kind = KINDS.get(name or "purchase")
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {name[:40]!r}")
    return kind


def _product(cells: Mapping[str, Any]) -> Product:
    path = [part.strip() for part in text(cells.get("categories")).split(SEPARATOR)]
    return Product(
        product_id=identity("product_id", cells["product_id"]),
        title=text(cells["title"]),
        categories=[part for part in path if part],
        brand=text(cells.get("brand")),
        attributes=_attributes(cells, PRODUCT_COLUMNS),
        available=flag("available", cells.get("available")),
        description=text(cells.get("description")),
        price=number("price", cells.get("price"), 0, 1e9),
    )


def _user(cells: Mapping[str, Any]) -> User:
    return User(identity("user_id", cells["user_id"]), text(cells.get("text")), _attributes(cells, USER_COLUMNS))


def _attributes(cells: Mapping[str, Any], others: Sequence[str]) -> dict[str, str]:
    known = {name: text(cell) for name, cell in cells.items() if name not in others}
    return {name: value for name, value in known.items() if value}
