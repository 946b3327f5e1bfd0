"""What the demo publishes, as bytes.

The contract is schemas/; a test reads these bytes with its models.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from numpy.typing import NDArray

from pprm.catalogue.promotions import DISPLAY, FEATURE, MAILER
from pprm.core.ids import stable_hash
from pprm.data.dataset import ShopProduct
from worker.demo.households import DemoVisit
from worker.runtime.delivery import Row

SIMULATED = {"source": "simulated"}


def event_ids(visit: DemoVisit) -> list[str]:
    """Ids of a visit's events: the same in every run."""
    products = enumerate(visit.products)  # one may be looked at twice in a moment
    names = (
        f"{visit.household}\0{visit.basket}\0{number}\0{product}" for number, product in products
    )
    return [f"{stable_hash(name):016x}" for name in names]


def visit_rows(visit: DemoVisit) -> list[Row]:
    """Return a visit's events as rows for its topic."""
    make = {"purchases": _purchase, "browses": _browse, "reviews": _review}[visit.family]
    key, at = visit.household.encode(), timestamp(visit.time)
    return [
        Row(
            key,
            orjson.dumps(
                _who(visit, number)
                | make(visit, number)
                | {"event_id": event_id, "occurred_at": at}
            ),
        )
        for number, event_id in enumerate(event_ids(visit))
    ]


def user_row(
    household: str, attributes: Mapping[str, str], at: int, text: str | None = None
) -> Row:
    """Return a shopper's profile as a row for `users`."""
    user = {
        "user_id": household,
        "updated_at": timestamp(at),
        "text": text,
        "attributes": dict(attributes),
    }
    return Row(household.encode(), orjson.dumps(user))


def product_row(product: ShopProduct, entries: NDArray[Any], stores: Mapping[int, str]) -> Row:
    """Return a product as a row for `products`; its fields are the topic's.

    Args:
        product: the product.
        entries: its promotions, `pprm.catalogue.promotions.ENTRY`.
        stores: ids of stores by code.
    """
    fields = product._asdict() | {"promotions": _promotions(entries, stores)}
    return Row(product.product_id.encode(), orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY))


def _promotions(entries: NDArray[Any], stores: Mapping[int, str]) -> list[dict[str, Any]]:
    """One promotion for all stores that do the same at the same time."""
    together = defaultdict[tuple[int, int, int], list[str]](list)
    for starts, until, store, code in entries.tolist():
        together[starts, until, code].append(stores.get(store, str(store)))
    return [
        {
            "starts": timestamp(starts),
            "until": timestamp(until),
            "store_ids": names,
            "display": "on display" if code & DISPLAY else None,
            "mailer": "feature" if code & FEATURE else "line item" if code & MAILER else None,
        }
        for (starts, until, code), names in together.items()
    ]


def _who(visit: DemoVisit, number: int) -> dict[str, Any]:
    return {"user_id": visit.household, "product_id": visit.products[number]}


def _purchase(visit: DemoVisit, number: int) -> dict[str, Any]:
    fields = {"basket_id": visit.basket} | ({"store_id": visit.store} if visit.store else {})
    return fields | ({"kind": visit.action} if visit.action else {})


def _browse(visit: DemoVisit, number: int) -> dict[str, Any]:
    if visit.action:
        return {"action": visit.action, "dwell_seconds": visit.dwell}
    return {"action": "view" if number else "add_to_cart", "attributes": SIMULATED}


def _review(visit: DemoVisit, number: int) -> dict[str, Any]:
    return {"sentiment": visit.sentiment}


@lru_cache(maxsize=1024)
def timestamp(seconds: int) -> str:
    """Unix seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
