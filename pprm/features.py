"""The input layer: one definition for training, evaluation and the worker.

Numbers about a shopper (`scalars`), about a shopper and a product (`CROSS`), and the sequence for pooling. The cross
features come in two forms that agree: `dense` gives a row per candidate, for training; `Groups` gives a row per
product, type, category and maker, from which the scorer builds its tables. All are functions of the state's counters,
the catalogue and `now`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue import Catalogue
from pprm.user_state import BASKET_DECAY, DAY, UserState

Floats = NDArray[np.float32]

GROUP = ("count", "decay7", "decay28", "decay112", "recent7", "recent28", "due", "rate112", "seen")
"""Per type and per category: log counts, exp(-gap/7 d) and exp(-gap/28 d), gap / mean interval, rate per basket, 1."""
ITEM = (*GROUP[:7], "due_distance", "per_basket", "rate28", "rate112", "rate_recent", "log_rate", "seen")
MAKER = ("count", "decay112")
SHARE = ("product_of_type", "type_of_category")
POPULARITY = ("week", "month", "all", "trend")
CROSS = (
    *(f"product_{name}" for name in ITEM),
    *(f"{group}_{name}" for group in ("type", "category") for name in GROUP),
    *(f"maker_{name}" for name in MAKER),
    *(f"share_{name}" for name in SHARE),
    *(f"popularity_{name}" for name in POPULARITY),
)
"""Columns of the cross features, in order."""
SCALARS = ("purchases", "baskets", "days_since", "basket_size", "baskets_per_week", "weekly_phase", "sentiment")

PRODUCT = slice(0, 14)
TYPE = slice(14, 23)
CATEGORY = slice(23, 32)
MAKERS = slice(32, 34)
SHARE_OF_TYPE, SHARE_OF_CATEGORY = 34, 35
GLOBAL = slice(36, 40)


def scalars(state: UserState, now: float) -> Floats:
    """Numbers about the shopper at Unix time `now`, [7] as `SCALARS`."""
    if not state.purchases:
        return np.array([0, 0, 0, 0, 0, _phase(now), _sentiment(state)], np.float32)
    since = max(now - state.last_purchase, 0.0) / DAY
    span = max((now - state.first_purchase) / DAY, 1.0)
    return np.array(
        [
            np.log1p(state.purchases) / 6,
            np.log1p(state.baskets) / 4,
            np.log1p(since) / 3,
            np.log1p(state.purchases / state.baskets) / 3,
            np.log1p(state.baskets / span * 7),
            _phase(now),
            _sentiment(state),
        ],
        np.float32,
    )


def _phase(now: float) -> float:
    return (now / DAY % 7) / 7


def _sentiment(state: UserState) -> float:
    return state.sentiment / state.reviews if state.reviews else 0.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Cross features of a shopper per product bought, type, category and maker: index arrays and rows."""

    rows: NDArray[np.int64]
    """Catalogue rows of the products bought that are known, [p]."""
    product: Floats
    """[p, 14]"""
    product_count: Floats
    """Purchases, [p]."""
    types: NDArray[np.int64]
    type: Floats
    """[t, 9]"""
    type_count: Floats
    categories: NDArray[np.int64]
    category: Floats
    """[c, 9]"""
    category_count: Floats
    makers: NDArray[np.int64]
    maker: Floats
    """[m, 2]"""


def groups(state: UserState, catalogue: Catalogue, now: float) -> Groups:
    """Cross features of all that the shopper bought, at Unix time `now`."""
    rows = catalogue.rows(state.product_keys())
    known = rows >= 0
    rows, kept = rows[known], state.product_counters()[known]
    bought = _Bought.of(kept, state, now)
    baskets = _Baskets.of(state, now)
    types, by_type = bought.grouped(catalogue.type[rows])
    categories, by_category = bought.grouped(catalogue.category[rows])
    makers, by_maker = bought.grouped(catalogue.maker[rows])
    maker = np.stack([np.log1p(by_maker.count), np.log1p(by_maker.decays[2])], 1) / 3
    return Groups(
        rows, _item(bought, baskets), bought.count.astype(np.float32),
        types, _group(by_type, baskets), by_type.count.astype(np.float32),
        categories, _group(by_category, baskets), by_category.count.astype(np.float32),
        makers, maker.astype(np.float32),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Baskets:
    """The shopper's baskets: their number, and decayed by 28 and 112 days as of now."""

    count: int
    decay28: float
    decay112: float

    @classmethod
    def of(cls, state: UserState, now: float) -> "_Baskets":
        days = max(now - state.last_purchase, 0.0) / DAY
        return cls(state.baskets, state.basket_decay28 * 2 ** (-days / 28), state.basket_decay112 * 2 ** (-days / 112))


@dataclass(frozen=True, slots=True)
class _Bought:
    """Counters as of now; every array [n]. Times are days before now, so the oldest purchase has the largest."""

    count: NDArray[np.float64]
    decays: tuple[NDArray[np.float64], ...]
    per_basket: NDArray[np.float64]
    first_age: NDArray[np.float64]
    last_age: NDArray[np.float64]

    @classmethod
    def of(cls, counters: NDArray[Any], state: UserState, now: float) -> "_Bought":
        age = np.maximum(now - counters["last"].astype(np.float64), 0.0) / DAY
        decays = tuple(counters[f"decay{h}"] * 2.0 ** (-age / h) for h in (7, 28, 112))
        later = state.baskets - counters["basket"].astype(np.float64)
        first_age = np.maximum(now - counters["first"].astype(np.float64), 0.0) / DAY
        return cls(
            counters["count"].astype(np.float64), decays, counters["basket_decay"] * BASKET_DECAY**later, first_age, age
        )

    def grouped(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], "_Bought"]:
        """The same per group: sums, the newest and the oldest."""
        groups, inverse = np.unique(codes, return_inverse=True)
        n = len(groups)

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(inverse, values, n).astype(np.float64)

        first_age, last_age = np.zeros(n), np.full(n, np.inf)
        np.maximum.at(first_age, inverse, self.first_age)
        np.minimum.at(last_age, inverse, self.last_age)
        summed = _Bought(total(self.count), tuple(map(total, self.decays)), total(self.per_basket), first_age, last_age)
        return groups.astype(np.int64), summed


def _common(b: _Bought) -> list[NDArray[np.float64]]:
    interval = (b.first_age - b.last_age) / np.maximum(b.count - 1, 1)
    due = np.where(b.count > 1, np.minimum(b.last_age / np.maximum(interval, 0.5), 4.0), 2.0) / 2
    logs = [np.log1p(b.count), *(np.log1p(decay) for decay in b.decays)]
    return [*logs, np.exp(-b.last_age / 7), np.exp(-b.last_age / 28), due]


def _group(b: _Bought, baskets: _Baskets) -> Floats:
    columns = [*_common(b), b.decays[2] / max(baskets.decay112, 1e-9), np.ones_like(b.count)]
    return np.stack(columns, 1).astype(np.float32)


def _item(b: _Bought, baskets: _Baskets) -> Floats:
    common = _common(b)
    rate112 = b.decays[2] / max(baskets.decay112, 1e-9)
    mass = (1 - BASKET_DECAY) / (1 - BASKET_DECAY ** max(baskets.count, 1))
    columns = [
        *common,
        np.abs(common[-1] - 0.5),
        b.count / max(baskets.count, 1),
        b.decays[1] / (baskets.decay28 + 0.05),
        rate112,
        b.per_basket * mass,
        np.log(rate112 + 0.01) / 4.6 + 1,
        np.ones_like(b.count),
    ]
    return np.stack(columns, 1).astype(np.float32)


def dense(groups: Groups, catalogue: Catalogue, candidates: NDArray[np.int64], popularity: Floats) -> Floats:
    """Cross features of candidate rows, [len(candidates), 40]; `popularity` [len(candidates), 4] is theirs."""
    out = np.zeros((len(candidates), len(CROSS)), np.float32)
    type_, category = catalogue.type[candidates], catalogue.category[candidates]
    item, of_item = find(groups.rows, candidates)
    out[of_item, PRODUCT] = groups.product[item]
    out[:, TYPE], type_count = spread(groups.types, groups.type, groups.type_count, type_)
    out[:, CATEGORY], category_count = spread(groups.categories, groups.category, groups.category_count, category)
    maker, of_maker = find(groups.makers, catalogue.maker[candidates])
    out[of_maker, MAKERS] = groups.maker[maker]
    out[of_item, SHARE_OF_TYPE] = groups.product_count[item] / np.maximum(type_count[of_item], 1)
    out[:, SHARE_OF_CATEGORY] = type_count / np.maximum(category_count, 1)
    out[:, GLOBAL] = popularity
    return out


def spread(keys: NDArray[np.int64], rows: Floats, counts: Floats, wanted: NDArray[Any]) -> tuple[Floats, Floats]:
    """Rows [k, f] and counts [k] of groups `keys` [k], laid out for the groups `wanted` [n], 0 where there is none."""
    found, at = find(keys, wanted)
    values, count = np.zeros((len(wanted), rows.shape[1]), np.float32), np.zeros(len(wanted), np.float32)
    values[at], count[at] = rows[found], counts[found]
    return values, count


def find(keys: NDArray[np.int64], wanted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices into `keys` of those `wanted` that are in it, and which of `wanted` they are."""
    if not len(keys):
        return np.zeros(0, np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    at = order[place]
    hit = keys[at] == wanted
    return at[hit], hit
