"""The Complete Journey, as the demo tells it: households with their baskets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from pprm.datasets.dataset import Dataset, Product, PromotedProduct
from worker.demo.households import Visit, choose

BEGIN = int(datetime(2017, 11, 1, tzinfo=UTC).timestamp())
"""Where the backfill ends and the replay begins, Unix seconds; the model was trained on nothing later."""
END = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp())

WITHOUT_EVENTS = 2
"""Households of the data that bought nothing that counts; they take no part."""


@dataclass(frozen=True, slots=True)
class Shop:
    """What the demo publishes and replays."""

    products: list[Product]
    universe: list[str]
    """Ids of the products that can be recommended, in a fixed order."""
    profiles: dict[str, dict[str, str]]
    history: dict[str, list[Visit]]
    """Each household's baskets in time order."""
    promotions: list[PromotedProduct]
    """In the order of their publication, from the week before `BEGIN` on."""
    stores: Mapping[int, str]
    """Ids of stores by code."""


def load(households: int | None) -> Shop:
    """Read the data of so many households (None: all)."""
    from pprm.datasets import complete_journey  # imports pandas: while the worker starts, not before

    ordered = choose(complete_journey.household_ids(), None)
    dataset = complete_journey.load(ordered[: None if households is None else households + WITHOUT_EVENTS])
    universe = [product.product_id for product in dataset.products if product.available]
    baskets = history(dataset)
    chosen = [household for household in ordered if household in baskets][:households]
    return Shop(
        dataset.products, universe, dataset.profiles, {household: baskets[household] for household in chosen},
        list(dataset.promotions(BEGIN)), dataset.stores,
    )  # fmt: skip


def history(dataset: Dataset) -> dict[str, list[Visit]]:
    """Each household's baskets in time order."""
    ids = [product.product_id for product in dataset.products]
    bought, times = dataset.product.tolist(), dataset.time.tolist()
    users, baskets = dataset.user.tolist(), dataset.basket.tolist()
    visits: dict[str, list[Visit]] = {user: [] for user in dataset.users}
    bounds = dataset.visits().tolist()
    for first, after in pairwise(bounds):
        user = dataset.users[users[first]]
        products = tuple(ids[product] for product in bought[first:after])
        store = "" if dataset.store is None else dataset.stores[int(dataset.store[first])]
        visits[user].append(Visit(times[first], user, "purchases", products, dataset.baskets[baskets[first]], store))
    return visits
