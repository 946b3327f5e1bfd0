"""A shop of the demo: its catalogue, and what each shopper did.

It is The Complete Journey, or any other dataset.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pprm.core.events import SOURCE_OF, SOURCES, Kind
from pprm.data.dataset import Dataset, PromotedProduct, ShopProduct
from pprm.data.files import TableError
from pprm.data.source import BUNDLED, Source, read
from worker.demo.households import DemoVisit, choose

if TYPE_CHECKING:
    from pprm.data.plan import Plan

BEGIN = int(datetime(2017, 12, 1, tzinfo=UTC).timestamp())
"""Begin of The Complete Journey's replay, known before it is read: the worker starts meanwhile."""
NAME_LENGTH = 22
"""Characters of a product's name: two lists fit a terminal of 80 columns."""
WITHOUT_EVENTS = 2
"""Households of The Complete Journey that bought nothing that counts; they take no part."""


@dataclass(frozen=True, slots=True)
class Shop:
    """What the demo publishes and replays."""

    dataset: Dataset
    begin: int
    """End of the backfill and begin of the replay, Unix seconds.

    A model of this shop has learned nothing later.
    """
    end: int
    universe: list[str]
    """Ids of the products that can be recommended, in a fixed order."""
    history: dict[str, list[DemoVisit]]
    """What each shopper did, in time order."""
    promotions: list[PromotedProduct]
    """In the order of their publication, from the week before `begin` on."""

    @property
    def simulates(self) -> bool:
        """Whether looks are simulated: The Complete Journey has none."""
        return self.dataset.name == BUNDLED


def load(source: Source, households: int | None) -> Shop:
    """Read the data of so many shoppers (None: all).

    Raises:
        pprm.data.files.TableError: it cannot be read, or nobody buys in the time that is replayed.
    """
    from pprm.data import plan  # while the worker starts, not before

    if source.dataset == BUNDLED:
        dataset, chosen = _complete_journey(households)
    else:
        dataset, _ = plan.without_outliers(read(source))
        buyers = _buyers(dataset, plan.of(dataset))
        chosen = (
            choose(dataset.users if households is None else buyers, households) if buyers else []
        )
    if not chosen:
        raise TableError(
            "nobody buys anything in the time that is replayed: there is nothing to replay"
        )
    made = plan.of(dataset)
    universe = [product.product_id for product in dataset.products if product.available]
    visits = history(dataset, chosen)
    promotions = list(dataset.promotions(made.until))
    return Shop(dataset, made.until, made.test.end, universe, visits, promotions)


def names(shop: Shop) -> dict[str, str]:
    """Short names of the products, by id.

    Where a shop's products share a title, as those of The Complete Journey do, which has their
    types only, each is told by its size, its maker and the end of its id, too.
    """
    products = shop.dataset.products
    if len({product.title for product in products}) > len(products) // 2:
        return {product.product_id: product.title.capitalize() for product in products}
    sizes = _sizes() if shop.simulates else {}
    return {product.product_id: _name(product, sizes) for product in products}


def _name(product: ShopProduct, sizes: Mapping[str, str]) -> str:
    size = sizes.get(product.product_id, "").replace(" ", "").lower()
    maker = product.brand.replace("manufacturer ", "m")
    told = " ".join(filter(None, (size[:6], maker[:5], product.product_id[-4:])))
    return f"{product.title.capitalize()[: NAME_LENGTH - 1 - len(told)]} {told}"


def _sizes() -> dict[str, str]:
    from pprm.data import complete_journey

    return complete_journey.package_sizes()


def _complete_journey(households: int | None) -> tuple[Dataset, list[str]]:
    """Only the households that take part are read."""
    from pprm.data import complete_journey

    ordered = choose(complete_journey.household_ids(), None)
    dataset = complete_journey.load(
        ordered[: None if households is None else households + WITHOUT_EVENTS]
    )
    known = set(dataset.users)
    return dataset, [household for household in ordered if household in known][:households]


def _buyers(dataset: Dataset, made: "Plan") -> list[str]:
    """Return who buys in the time that is replayed.

    A few of all the others would have no basket to judge.
    """
    replayed = (dataset.time >= made.until) & (dataset.time < made.test.end)
    return [
        dataset.users[user]
        for user in np.unique(dataset.user[replayed & dataset.purchases()]).tolist()
    ]


def history(dataset: Dataset, shoppers: Collection[str]) -> dict[str, list[DemoVisit]]:
    """Return what each of these shoppers did, in time order.

    That is baskets, and what they looked at or reviewed at a moment.
    """
    index = {user: number for number, user in enumerate(dataset.users)}
    visits: dict[str, list[DemoVisit]] = {user: [] for user in shoppers}
    wanted = np.zeros(len(dataset.users), bool)
    wanted[[index[user] for user in shoppers]] = True
    for first, after in pairwise(dataset.visits().tolist()):
        if wanted[dataset.user[first]]:
            visit = _visit(dataset, first, after)
            before = visits[visit.household]
            # a page of search results is one moment, and gets one list
            if before and _together(before[-1], visit):
                before[-1] = visit._replace(products=before[-1].products + visit.products)
            else:
                before.append(visit)
    return visits


def _together(before: DemoVisit, visit: DemoVisit) -> bool:
    """Whether two events of a shopper are one act at one moment."""
    same = before._replace(products=(), basket="") == visit._replace(products=(), basket="")
    return same and visit.family != "purchases"


def _visit(dataset: Dataset, first: int, after: int) -> DemoVisit:
    kind = Kind.PURCHASE if dataset.kind is None else Kind(int(dataset.kind[first]))
    products = tuple(
        dataset.products[product].product_id for product in dataset.product[first:after].tolist()
    )
    visit = DemoVisit(
        int(dataset.time[first]), dataset.users[int(dataset.user[first])], SOURCES[SOURCE_OF[kind]],
        products,
        f"event-{first}",
    )  # fmt: skip
    if kind is Kind.PURCHASE:
        store = 0 if dataset.store is None else int(dataset.store[first])
        return visit._replace(
            basket=dataset.baskets[int(dataset.basket[first])], store=_store(dataset, store)
        )
    if kind is Kind.RETURN:
        basket = dataset.basket_of(first)
        return visit._replace(
            action="return", basket=visit.basket if basket < 0 else dataset.baskets[basket]
        )
    if kind is Kind.REVIEW:
        return visit._replace(
            sentiment=0.0 if dataset.sentiment is None else float(dataset.sentiment[first])
        )
    dwell = 0.0 if dataset.dwell is None else float(dataset.dwell[first])
    return visit._replace(action=kind.name.lower(), dwell=dwell)


def _store(dataset: Dataset, code: int) -> str:
    """Id of a store; of one whose id the data does not keep, its code's number is as good."""
    return dataset.stores.get(code, str(code)) if code else ""
