"""REES46: views, carts and purchases of a large electronics shop, 2019-10 to 2020-04.

The files of its cosmetics shop are the same.

"eCommerce behavior data from multi category store" (Kaggle, rees46.com), the official monthly CSV
files. A month has 40 to 70 million rows in time order.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pprm.core.events import Kind
from pprm.data.cells import identity, price, seconds, text
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import Note, OnProgress, Reading, parsed, silent
from pprm.data.limits import fit_product
from pprm.data.reading_report import Unusable
from pprm.data.rows import Event, Rows, collect
from pprm.data.text_files import Lines, csv_records, needs

NAME = "rees46"
FILES = ("one or more months: 2019-Oct.csv",)
COLUMNS = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price",
    "user_id",
    "user_session",
)  # fmt: skip
KINDS = {
    "view": Kind.VIEW, "cart": Kind.ADD_TO_CART, "remove_from_cart": Kind.REMOVE_FROM_CART,
    "purchase": Kind.PURCHASE,
}  # fmt: skip


def load(*months: Path, progress: OnProgress = silent, strict: bool = False) -> Dataset:
    """Read files such as `2019-Oct.csv` (or `.csv.gz`).

    Raises:
        TableError: a file is missing or is not as published.
    """
    return collect(NAME, convert(*months, progress=progress, strict=strict))


def convert(*months: Path, progress: OnProgress = silent, strict: bool = False) -> Rows:
    """Make rows of the files.

    Products are known from their first event; all are available, since nothing says otherwise.
    """
    reading = Reading(months, progress, strict)
    products: dict[str, ShopProduct] = {}
    events = chain.from_iterable(_events(Lines(month, reading), products) for month in months)
    return Rows(events, products.values(), (), reading.report)


def _events(lines: Lines, products: dict[str, ShopProduct]) -> Iterator[Event]:
    def parse(row: dict[str, str]) -> Event:
        event = _event(row, lines.note)
        if event.product_id not in products:
            products[event.product_id] = fit_product(_product(row, event.price), lines.note)
        return event

    return parsed(lines, csv_records(lines, needs(*COLUMNS)), parse)


def _event(row: dict[str, str], note: Note) -> Event:
    kind = KINDS.get(row["event_type"])
    if kind is None:
        raise Unusable(f"event_type must be one of {', '.join(KINDS)}", row["event_type"])
    day, session = row["event_time"][:10], text(row["user_session"])
    return Event(
        user_id=identity("user_id", row["user_id"]),
        product_id=identity("product_id", row["product_id"]),
        occurred_at=seconds("event_time", row["event_time"].replace(" UTC", "Z")),
        kind=kind,
        # a session has one basket, but some last for weeks
        basket_id=f"{session} {day}" if session and kind is Kind.PURCHASE else "",
        price=price("price", row["price"], note),
    )


def _product(row: dict[str, str], price: float | None) -> ShopProduct:
    """Names of products are not published: its kind and its brand stand for it."""
    path = [part.replace("_", " ") for part in text(row["category_code"]).split(".") if part]
    path = path or [f"category {row['category_id']}"]
    return ShopProduct(
        product_id=row["product_id"],
        title=f"{text(row['brand'])} {path[-1]}".strip(),
        categories=path,
        brand=text(row["brand"]),
        attributes={},
        available=True,
        price=price,
    )
