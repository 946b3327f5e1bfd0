"""Google Merchandise Store: three months (2020-11 to 2021-01) of list impressions, checkouts and purchases.

Two CSV files made from the public Google Analytics 4 sample: events (user_id, ga_session_id, country, device, type,
item_id, date) and items (id, name, brand, variant, category, price_in_usd). Times are whole minutes, read as UTC.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pprm.datasets.cells import identity, number, seconds
from pprm.datasets.dataset import Dataset, Product
from pprm.datasets.files import Lines, Progress, Reading, csv_records, parsed, silent
from pprm.datasets.rows import Event, Rows, User, collect
from pprm.events import Kind

NAME = "google-merchandise"
KINDS = {"add_to_cart": Kind.VIEW, "begin_checkout": None, "purchase": Kind.PURCHASE}
"""What is called add_to_cart comes in whole pages, a dozen items in a moment: no act of the shopper. A checkout is the
purchase itself, minutes before it is recorded: who reads it predicts what has happened (NDCG .96)."""
CHECKOUT = "checkout: the purchase follows"
ONLY_VARIANT = "Single Option Only"


def load(events: Path, items: Path, progress: Progress = silent) -> Dataset:
    """Read the two files.

    Raises:
        TableError: a file is missing or is not as published.
    """
    return collect(NAME, convert(events, items, progress))


def convert(events: Path, items: Path, progress: Progress = silent) -> Rows:
    """The files as rows. A shopper's country (`NA` is Namibia) is the one of the first event."""
    reading = Reading([events, items], progress)
    countries: dict[str, str] = {}
    lines, rows = Lines(items, reading), Lines(events, reading)
    return Rows(
        _events(rows, countries),
        parsed(lines, csv_records(lines), _product),
        _users(countries.items()),
        reading.left_out,
    )


def _events(rows: Lines, countries: dict[str, str]) -> Iterator[Event]:
    for event in parsed(rows, csv_records(rows), lambda row: _event(row, countries)):
        if event is None:
            rows.reading.left_out[CHECKOUT] += 1
        else:
            yield event


def _event(row: dict[str, str], countries: dict[str, str]) -> Event | None:
    if row["type"] not in KINDS:
        raise ValueError(f"type must be one of {', '.join(KINDS)}, not {row['type'][:40]!r}")
    kind = KINDS[row["type"]]
    if kind is None:
        return None
    user = identity("user_id", row["user_id"])
    countries.setdefault(user, row["country"])
    return Event(
        user_id=user,
        product_id=identity("item_id", row["item_id"]),
        occurred_at=seconds("date", f"{row['date']}Z"),
        kind=kind,
        basket_id=row["ga_session_id"] if kind is Kind.PURCHASE else "",
    )


def _product(row: dict[str, str]) -> Product:
    variant = row["variant"].strip()
    return Product(
        product_id=identity("id", row["id"]),
        title=row["name"],
        categories=[row["category"]] if row["category"] else [],
        brand=row["brand"],
        attributes={"variant": variant} if variant and variant != ONLY_VARIANT else {},
        available=True,
        price=number("price_in_usd", row["price_in_usd"], 0, 1e9),
    )


def _users(countries: Iterable[tuple[str, str]]) -> Iterator[User]:
    for user, country in countries:
        yield User(user, "", {"country": country} if country else {})
