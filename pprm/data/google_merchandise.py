"""Google Merchandise Store: three months of list impressions, checkouts and purchases.

Two CSV files (2020-11 to 2021-01) made from the public Google Analytics 4 sample: events (user_id,
ga_session_id, country, device, type, item_id, date) and items (id, name, brand, variant, category,
price_in_usd). Times are whole minutes, read as UTC.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pprm.core.events import Kind
from pprm.data.cells import id_or_nothing, identity, price, seconds, text
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import Note, OnProgress, Reading, parsed, silent
from pprm.data.limits import fit_product
from pprm.data.reading_report import PassedOver, Unusable
from pprm.data.rows import Event, Rows, ShopUser, collect
from pprm.data.text_files import Lines, csv_records, needs

NAME = "google-merchandise"
FILES = ("events", "items")
KINDS = {"add_to_cart": Kind.VIEW, "begin_checkout": None, "purchase": Kind.PURCHASE}
"""The kind of each type of event; None is left out.

What is called add_to_cart comes in whole pages, a dozen items in a moment: no act of the shopper. A
checkout is the purchase itself, minutes before it is recorded: a model that reads it predicts what
has happened (NDCG .96).
"""
CHECKOUT = "checkout: the purchase follows"
EVENT_COLUMNS = ("user_id", "ga_session_id", "country", "type", "item_id", "date")
ITEM_COLUMNS = ("id", "name", "brand", "variant", "category", "price_in_usd")
ONLY_VARIANT = "Single Option Only"


def load(events: Path, items: Path, progress: OnProgress = silent, strict: bool = False) -> Dataset:
    """Read the two files.

    Raises:
        TableError: a file is missing or is not as published.
    """
    return collect(NAME, convert(events, items, progress, strict))


def convert(events: Path, items: Path, progress: OnProgress = silent, strict: bool = False) -> Rows:
    """The files as rows. A shopper's country (`NA` is Namibia) is the one of the first event."""
    reading = Reading([events, items], progress, strict)
    countries: dict[str, str] = {}
    lines, rows = Lines(items, reading), Lines(events, reading)
    return Rows(
        parsed(rows, csv_records(rows, needs(*EVENT_COLUMNS)), lambda row: _event(row, countries)),
        parsed(
            lines, csv_records(lines, needs(*ITEM_COLUMNS)), lambda row: _product(row, lines.note)
        ),
        _users(countries.items()),
        reading.report,
    )


def _event(row: dict[str, str], countries: dict[str, str]) -> Event:
    if row["type"] not in KINDS:
        raise Unusable(f"type must be one of {', '.join(KINDS)}", row["type"])
    kind = KINDS[row["type"]]
    if kind is None:
        raise PassedOver(CHECKOUT)
    user = identity("user_id", row["user_id"])
    event = Event(
        user_id=user,
        product_id=identity("item_id", row["item_id"]),
        occurred_at=seconds("date", f"{row['date']}Z"),
        kind=kind,
        basket_id=id_or_nothing("ga_session_id", row["ga_session_id"])
        if kind is Kind.PURCHASE
        else "",
    )
    countries.setdefault(user, text(row["country"]))
    return event


def _product(row: dict[str, str], note: Note) -> ShopProduct:
    variant, category = text(row["variant"]).strip(), text(row["category"])
    product = ShopProduct(
        product_id=identity("id", row["id"]),
        title=text(row["name"]),
        categories=[category] if category else [],
        brand=text(row["brand"]),
        attributes={"variant": variant} if variant and variant != ONLY_VARIANT else {},
        available=True,
        price=price("price_in_usd", row["price_in_usd"], note),
    )
    return fit_product(product, note)


def _users(countries: Iterable[tuple[str, str]]) -> Iterator[ShopUser]:
    for user, country in countries:
        yield ShopUser(user, "", {"country": country} if country else {})
