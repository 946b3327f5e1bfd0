"""A shop as plain rows, one after the other.

Converters yield them, tables hold them, and here they become arrays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.codes import Codes
from pprm.core.events import LOOKS, Kind
from pprm.core.ids import stable_hash
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.reading_report import Report, Unusable
from pprm.encoders.sentiment import sentiment
from pprm.state.user_state import store_code

UNKNOWN_PRODUCT = "event of a product that is not among the products: compare their ids"
REPEATED = "product again in the same basket"
SAME_EVENT = "event_id that was there before"
EVENTS = "events with their products"
"""Part of the report on what becomes of them together."""


class Event(NamedTuple):
    """What a shopper did with a product.

    The fields are those of the topics purchases, browses and reviews.
    """

    user_id: str
    product_id: str
    occurred_at: int
    """Unix seconds."""
    kind: Kind = Kind.PURCHASE
    basket_id: str = ""
    """Of purchases: those of a shopper with one id form a basket; without, those of one time."""
    store_id: str = ""
    quantity: float | None = None
    price: float | None = None
    dwell_seconds: float | None = None
    rating: float | None = None
    """1 to 5 stars."""
    text: str = ""
    sentiment: float | None = None
    """-1 to 1."""
    event_id: str = ""
    """A shopper's event with an id, a kind and a product seen before is a repeat."""


class ShopUser(NamedTuple):
    """What is known of a shopper."""

    user_id: str
    text: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Rows:
    """A shop, to be read once and in this order.

    Some sources know their products and users only after the events.
    """

    events: Iterable[Event]
    """In any order."""
    products: Iterable[ShopProduct]
    """A later row of a product replaces an earlier one."""
    users: Iterable[ShopUser] = ()
    report: Report = field(default_factory=Report)
    """Grows while the rows are read: what was read, left out, and why."""


_LAYOUT = np.dtype(
    [("user", "i4"), ("product", "i4"), ("basket", "i4"), ("time", "i8"), ("kind", "u1"), ("store",
    "u4"),
     ("dwell", "f4"), ("sentiment", "f4"), ("event", "u8")]
)  # fmt: skip
"""41 bytes an event: a shop of 100 million events fits into memory, its texts never do."""


def collect(name: str, rows: Rows) -> Dataset:
    """Read rows into a dataset, in time order.

    A basket's purchases are at the time of its first, and a product counts once in a basket.

    Raises:
        TableError: most rows cannot be used, or one where the reading is strict; or most events are
        of no product.
    """
    users, seen, baskets = Codes(), Codes(), Codes()
    events = np.fromiter(_coded(rows.events, users, seen, baskets), _LAYOUT)
    products = list({product.product_id: product for product in rows.products}.values())
    events = _sorted(_of_products(events, seen, products, rows.report))
    events = _once(events, rows.report)
    events, names = _into_baskets(events, list(baskets), rows.report)
    active = set(users)
    known = [user for user in rows.users if user.user_id in active]
    return Dataset(
        name=name,
        products=products,
        users=list(users),
        baskets=names,
        profiles={user.user_id: user.attributes for user in known if user.attributes},
        about={user.user_id: user.text for user in known if user.text},
        report=rows.report,
        user=events["user"].copy(),
        product=events["product"].copy(),
        basket=events["basket"].copy(),
        time=events["time"].copy(),
        kind=events["kind"].copy(),
        store=events["store"].copy(),
        dwell=events["dwell"].copy(),
        sentiment=events["sentiment"].copy(),
    )


def _coded(
    events: Iterable[Event], users: Codes, products: Codes, baskets: Codes
) -> Iterator[tuple[Any, ...]]:
    """Read events as `_LAYOUT`.

    `basket` is the code of the basket's id, -1 where there is none, `event` 0 without an id.
    """
    for event in events:
        bought, reviewed = event.kind is Kind.PURCHASE, event.kind is Kind.REVIEW
        has_basket = event.basket_id and (bought or event.kind is Kind.RETURN)
        yield (
            users.of(event.user_id),
            products.of(event.product_id),
            baskets.of(event.basket_id) if has_basket else -1,
            event.occurred_at,
            event.kind,
            store_code(event.store_id) if bought else 0,
            event.dwell_seconds or 0.0 if event.kind in LOOKS else 0.0,
            sentiment(event.sentiment, event.rating, event.text) if reviewed else 0.0,
            same_event(event) if event.event_id else 0,
        )


def same_event(event: Event) -> int:
    """Return 8 bytes that equal events share.

    The id alone is not enough: many a shop gives all lines of an order the order's id.
    """
    return stable_hash.__wrapped__(
        "\0".join((event.event_id, event.user_id, event.product_id, event.kind.name))
    )


def _of_products(
    events: NDArray[Any], seen: Codes, products: list[ShopProduct], report: Report
) -> NDArray[Any]:
    """Events of known products, `product` being an index into these."""
    index = {product.product_id: number for number, product in enumerate(products)}
    names = list(seen)
    place = np.array([index.get(product_id, -1) for product_id in names], np.int32)
    known = place[events["product"]] >= 0
    report.part(EVENTS).read = len(events)
    unknown, counts = np.unique(events["product"][~known], return_counts=True)
    for product, count in zip(unknown.tolist(), counts.tolist(), strict=True):
        report.unusable(EVENTS, Unusable(UNKNOWN_PRODUCT), repr(names[product]), count)
    report.check(EVENTS)
    events["product"] = place[events["product"]]
    events = events[known]
    return events


def _once(events: NDArray[Any], report: Report) -> NDArray[Any]:
    """Without events whose id was there before, as the worker drops them."""
    named = np.flatnonzero(events["event"])
    _, first = np.unique(events["event"][named], return_index=True)
    stays = np.ones(len(events), bool)
    stays[np.delete(named, first)] = False
    report.passed_over(EVENTS, SAME_EVENT, count=len(named) - len(first))
    return events[stays]


def _sorted(events: NDArray[Any]) -> NDArray[Any]:
    return events[np.argsort(events["time"], kind="stable")]


def _into_baskets(
    events: NDArray[Any], ids: list[str], report: Report
) -> tuple[NDArray[Any], list[str]]:
    """Bring the purchases of each basket together.

    Returns the events, and the names of the baskets.

    A basket lies where its first purchase is, not where the last one is. A list is judged by what
    was known before a basket, and whoever buys twice in a session looks at what was bought between.
    """
    bought = np.flatnonzero(events["kind"] == Kind.PURCHASE)
    one = events[bought]
    times, at = np.unique(one["time"], return_inverse=True)
    key = np.where(one["basket"] >= 0, one["basket"], len(ids) + at).astype(np.int64)
    baskets, first, basket = np.unique(
        _of_shopper(one, key), return_index=True, return_inverse=True
    )
    events["basket"] = _returned(events, baskets)
    events["basket"][bought] = basket
    place = np.arange(len(events))
    place[bought] = bought[first][basket]
    events["time"] = events["time"][place]
    _, kept = np.unique(basket.astype(np.int64) << 32 | one["product"], return_index=True)
    stays = events["basket"] < 0
    stays[bought[kept]] = True
    report.passed_over(EVENTS, REPEATED, count=len(bought) - len(kept))
    order = np.argsort(place, kind="stable")
    names = [ids[k] if k < len(ids) else str(times[k - len(ids)]) for k in key[first].tolist()]
    return events[order[stays[order]]], names


def _of_shopper(events: NDArray[Any], key: NDArray[Any]) -> NDArray[np.int64]:
    """A key that no two shoppers share."""
    shared: NDArray[np.int64] = events["user"].astype(np.int64) << 32 | key
    return shared


def _returned(events: NDArray[Any], baskets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Make `Dataset.basket` of events that are no purchases.

    It says from which of these baskets a return is, where the return says so.
    """
    found = np.full(len(events), -1, np.int32)
    back = np.flatnonzero((events["kind"] == Kind.RETURN) & (events["basket"] >= 0))
    wanted = _of_shopper(events[back], events["basket"][back].astype(np.int64))
    at = np.minimum(np.searchsorted(baskets, wanted), max(len(baskets) - 1, 0))
    known = baskets[at] == wanted if len(baskets) else np.zeros(len(back), bool)
    found[back[known]] = -2 - at[known]
    return found
