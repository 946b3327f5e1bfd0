"""The table format: what any shop can export, as CSV or parquet. docs/data.md is its description.

Events and products are needed, users are not. Files are read row by row, whatever their size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import Any, TypeVar

from pprm.core.events import Kind
from pprm.data import cells as cell
from pprm.data import formats
from pprm.data.cells import flag, id_or_nothing, identity, number, past, price, text
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import Note, OnProgress, OpenFile, Reading, parsed, silent
from pprm.data.limits import fit_event, fit_product, fit_user
from pprm.data.parquet import ParquetRows, parquet_records
from pprm.data.reading_report import PassedOver, Unusable
from pprm.data.reading_report import TableError as TableError
from pprm.data.rows import Event, Rows, ShopUser, collect
from pprm.data.table_writer import write_table
from pprm.data.text_files import Check, Lines, csv_records, like, needs
from pprm.data.vectors import load_vectors as load_vectors

T = TypeVar("T")

NAME = "table"
FILES = ("events", "products", "users, which may be missing")
SEPARATOR = " > "
"""Between the parts of a category path."""
EVENT_COLUMNS = Event._fields
PRODUCT_COLUMNS = (
    "product_id",
    "title",
    "description",
    "categories",
    "brand",
    "price",
    "available",
)
USER_COLUMNS = ("user_id", "text")
KINDS = {kind.name.lower(): kind for kind in Kind if kind is not Kind.NOTHING}
NONE_BOUGHT = "nothing bought: quantity 0"


def load(
    events: Path,
    products: Path,
    users: Path | None = None,
    progress: OnProgress = silent,
    strict: bool = False,
) -> Dataset:
    """Read a shop's tables.

    Raises:
        TableError: a file is missing, has wrong columns, or holds mostly rows that cannot be used.
    """
    return collect(NAME, read(events, products, users, progress, strict))


def read(
    events: Path,
    products: Path,
    users: Path | None = None,
    progress: OnProgress = silent,
    strict: bool = False,
) -> Rows:
    """The tables as rows; nothing is read before they are asked for.

    `strict` refuses what would be left out.
    """
    reading = Reading([path for path in (events, products, users) if path], progress, strict)
    return Rows(
        _rows(events, reading, partial(_event, time()), _event_columns),
        _rows(products, reading, _product, needs("product_id", "title")),
        _rows(users, reading, _user, needs("user_id")) if users else (),
        reading.report,
    )


def write(rows: Rows, events: Path, products: Path, users: Path) -> None:
    """Write rows as tables, each in the format that its file name says.

    Products and users are held in memory.
    """
    write_table(
        events, EVENT_COLUMNS, ({**e._asdict(), "kind": e.kind.name.lower()} for e in rows.events)
    )
    _write_wide(products, PRODUCT_COLUMNS, [_cells(product) for product in rows.products])
    _write_wide(
        users,
        USER_COLUMNS,
        [{**u.attributes, "user_id": u.user_id, "text": u.text} for u in rows.users],
    )


def _write_wide(path: Path, columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    """Attributes have columns of their own, after the others."""
    attributes = {name for record in records for name in record} - set(columns)
    write_table(path, [*columns, *sorted(attributes)], records)


def _cells(product: ShopProduct) -> dict[str, Any]:
    fields = product._asdict()
    attributes = fields.pop("attributes")
    del fields["vector"]  # has a file of its own
    return {**attributes, **fields, "categories": SEPARATOR.join(product.categories)}


def _rows(
    path: Path, reading: Reading, parse: Callable[[Mapping[str, Any], Note], T], check: Check
) -> Iterator[T]:
    """Rows of a table; what it is, its first bytes say when the first row is asked for."""
    source: OpenFile
    records: Iterator[dict[str, Any] | Unusable]
    if formats.is_parquet(path):
        source = batches = ParquetRows(path, reading)
        records = parquet_records(batches, check)
    else:
        source = lines = Lines(path, reading)
        records = csv_records(lines, check)
    yield from parsed(source, records, partial(_with_note, parse, source))


def _with_note(
    parse: Callable[[Mapping[str, Any], Note], T], source: OpenFile, cells: Mapping[str, Any]
) -> T:
    return parse(cells, source.note)


def _event_columns(names: Sequence[str]) -> None:
    """A misspelt column of events would be a missing one: unknown ones are refused."""
    for name in names:
        if name not in EVENT_COLUMNS:
            raise ValueError(
                f"unknown column {name!r}{like(name, EVENT_COLUMNS)}: there may be"
                f" {', '.join(EVENT_COLUMNS)}"
            )
    needs("user_id", "product_id", "occurred_at")(names)


def _event(now: float, cells: Mapping[str, Any], note: Note) -> Event:
    """An event; what has not happened by `now` is none."""
    get = cells.get
    quantity = number("quantity", get("quantity"), -1e6, 1e6)
    event = Event(
        user_id=identity("user_id", cells["user_id"]),
        product_id=identity("product_id", cells["product_id"]),
        occurred_at=past("occurred_at", cells["occurred_at"], now),
        kind=_kind(text(get("kind")), quantity),
        basket_id=id_or_nothing("basket_id", get("basket_id")),
        store_id=id_or_nothing("store_id", get("store_id")),
        quantity=quantity,
        price=price("price", get("price"), note),
        dwell_seconds=number("dwell_seconds", get("dwell_seconds"), 0, 86_400),
        rating=number("rating", get("rating"), 1, 5),
        text=text(get("text")),
        sentiment=number("sentiment", get("sentiment"), -1, 1),
        event_id=id_or_nothing("event_id", get("event_id")),
    )
    if event.kind is Kind.NOTHING:
        raise PassedOver(NONE_BOUGHT)
    return fit_event(event, note)


def _kind(name: str, quantity: float | None) -> Kind:
    """The kind that is named, or a purchase; a purchase of less than none is a return."""
    kind = KINDS.get(name.lower() or "purchase")
    if kind is None:
        raise Unusable(f"kind must be one of {', '.join(KINDS)}", name)
    if kind is not Kind.PURCHASE or quantity is None or quantity > 0:
        return kind
    return Kind.RETURN if quantity else Kind.NOTHING


def _product(cells: Mapping[str, Any], note: Note) -> ShopProduct:
    product = ShopProduct(
        product_id=identity("product_id", cells["product_id"]),
        title=text(cells["title"]),
        categories=cell.path(cells.get("categories"), SEPARATOR),
        brand=text(cells.get("brand")),
        attributes=_attributes(cells, PRODUCT_COLUMNS),
        available=flag("available", cells.get("available")),
        description=text(cells.get("description")),
        price=price("price", cells.get("price"), note),
    )
    return fit_product(product, note)


def _user(cells: Mapping[str, Any], note: Note) -> ShopUser:
    user = ShopUser(
        identity("user_id", cells["user_id"]),
        text(cells.get("text")),
        _attributes(cells, USER_COLUMNS),
    )
    return fit_user(user, note)


def _attributes(cells: Mapping[str, Any], others: Sequence[str]) -> dict[str, str]:
    known = {name: text(value) for name, value in cells.items() if name not in others}
    return {name: value for name, value in known.items() if value}
