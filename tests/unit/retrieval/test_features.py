"""Cross features against a slow recomputation from the raw history, column by column."""

import numpy as np
import pytest

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.retrieval import features
from pprm.retrieval.features import CROSS
from pprm.state.fold import fold
from pprm.state.user_state import UserState

DAY = 86_400
NOW = 17_500 * DAY + 5000
PRODUCTS = [
    Product(f"p{i}", "", f"t{i % 5}", f"c{i % 5 % 2}", f"m{i % 3}", available=i < 18)
    for i in range(20)
]


def catalogue() -> Catalogue:
    made = Catalogue(2)
    made.put(PRODUCTS, np.zeros((20, 2), np.float32))
    return made


def history(seed: int, baskets: int) -> list[tuple[float, int, int]]:
    """(days ago, basket number, product), oldest first; each product at most once a basket."""
    rng = np.random.default_rng(seed)
    ages = np.sort(rng.integers(1, 200, baskets))[::-1]
    return [
        (float(age), number, int(product))
        for number, age in enumerate(ages, start=1)
        for product in rng.choice(20, rng.integers(1, 6), replace=False)
    ]


def state_of(events: list[tuple[float, int, int]]) -> UserState:
    return fold(
        UserState(),
        [
            Interaction(
                Position(0, 0, i),
                Kind.PURCHASE,
                stable_hash(f"p{product}"),
                int(NOW - age * DAY),
                basket,
            )
            for i, (age, basket, product) in enumerate(events)
        ],
    ).state


def group(ages: list[float], basket_ages: list[float]) -> dict[str, float]:
    """The common columns of what was bought so many days ago, one entry a purchase."""
    if not ages:
        return {}
    count, gap = len(ages), min(ages)
    interval = max((max(ages) - gap) / max(count - 1, 1), 0.5)
    decay = {h: sum(2 ** (-age / h) for age in ages) for h in (7, 28, 112)}
    return {
        "count": np.log1p(count),
        **{f"decay{h}": np.log1p(d) for h, d in decay.items()},
        "recent7": np.exp(-gap / 7),
        "recent28": np.exp(-gap / 28),
        "due": (min(gap / interval, 4) if count > 1 else 2) / 2,
        "rate112": decay[112] / sum(2 ** (-age / 112) for age in basket_ages),
        "seen": 1,
    }


def slow(
    events: list[tuple[float, int, int]], candidate: Product, popularity: np.ndarray
) -> dict[str, float]:
    """All 40 columns of one candidate from the raw history."""
    by_basket = {basket: age for age, basket, _ in events}
    basket_ages, last = list(by_basket.values()), max(by_basket, default=0)
    known = [(age, basket, PRODUCTS[product]) for age, basket, product in events]

    def ages(attribute: str) -> list[float]:
        return [
            age for age, _, p in known if getattr(p, attribute) == getattr(candidate, attribute)
        ]

    mine = ages("product_id")
    item = group(mine, basket_ages)
    if item:
        ago = [last - basket for _, basket, p in known if p.product_id == candidate.product_id]
        item |= {
            "due_distance": abs(item["due"] - 0.5),
            "per_basket": len(mine) / len(by_basket),
            "rate28": sum(2 ** (-a / 28) for a in mine)
            / (sum(2 ** (-a / 28) for a in basket_ages) + 0.05),
            "rate_recent": sum(0.95**a for a in ago) * 0.05 / (1 - 0.95 ** len(by_basket)),
            "log_rate": np.log(item["rate112"] + 0.01) / 4.6 + 1,
        }
    maker = ages("maker")
    return {
        **{f"product_{name}": value for name, value in item.items()},
        **{f"type_{name}": value for name, value in group(ages("type"), basket_ages).items()},
        **{
            f"category_{name}": value
            for name, value in group(ages("category"), basket_ages).items()
        },
        "maker_count": np.log1p(len(maker)) / 3,
        "maker_decay112": np.log1p(sum(2 ** (-age / 112) for age in maker)) / 3,
        "share_product_of_type": len(mine) / max(len(ages("type")), 1),
        "share_type_of_category": len(ages("type")) / max(len(ages("category")), 1),
        **{
            f"popularity_{name}": value
            for name, value in zip(("week", "month", "all", "trend"), popularity, strict=True)
        },
    }


@pytest.mark.parametrize(("seed", "baskets"), [(0, 0), (1, 1), (2, 3), (3, 12), (4, 30)])
def test_all_columns_equal_a_slow_recount(seed: int, baskets: int) -> None:
    events, known = history(seed, baskets), catalogue()
    popularity = np.random.default_rng(seed).random((20, 4)).astype(np.float32)
    groups = features.groups(state_of(events), known, NOW)
    got = features.dense(groups, known, np.arange(20), popularity)
    for row, candidate in enumerate(PRODUCTS):
        wanted = slow(events, candidate, popularity[row])
        for column, name in enumerate(CROSS):
            assert got[row, column] == pytest.approx(wanted.get(name, 0.0), rel=2e-4, abs=2e-5), (
                candidate,
                name,
            )


def test_products_that_are_not_in_the_catalogue_are_left_out() -> None:
    unknown = Interaction(Position(0, 0, 10_000), Kind.PURCHASE, stable_hash("gone"), NOW - DAY, 99)
    known = catalogue()
    state = fold(UserState(), [unknown]).state
    assert not len(features.groups(state, known, NOW).rows)
    assert not features.dense(
        features.groups(state, known, NOW), known, np.arange(20), np.zeros((20, 4))
    ).any()


def test_scalars() -> None:
    events = history(3, 12)
    got = dict(zip(features.SCALARS, features.scalars(state_of(events), NOW).tolist(), strict=True))
    oldest, newest = max(age for age, _, _ in events), min(age for age, _, _ in events)
    assert got == pytest.approx(
        {
            "purchases": np.log1p(len(events)) / 6,
            "baskets": np.log1p(12) / 4,
            "days_since": np.log1p(newest) / 3,
            "basket_size": np.log1p(len(events) / 12) / 3,
            "baskets_per_week": np.log1p(12 / oldest * 7),
            "weekly_phase": (NOW / DAY % 7) / 7,
            "sentiment": 0.0,
        },
        rel=1e-5,
    )


def test_an_event_after_now_has_no_negative_age() -> None:
    known = catalogue()
    groups = features.groups(state_of([(-3.0, 1, 2), (2.0, 2, 2)]), known, NOW)
    assert np.isfinite(groups.product).all() and (groups.product[:, 4:6] <= 1).all()
    assert (features.scalars(state_of([(-3.0, 1, 2)]), NOW) >= 0).all()
