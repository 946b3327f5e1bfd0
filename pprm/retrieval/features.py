"""The input layer: one definition for training, evaluation and the worker.

It has numbers about a shopper (`scalars`), about a shopper and a product (`CROSS`), and the
sequence for pooling. The cross features of a shopper are a row per product, type, category and
maker bought (`Groups`), which the scorer adds up and `dense` lays out as a row per candidate. All
are functions of the state's counters, the catalogue and `now`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.codes import CATEGORY_CODE, MAKER_CODE, TYPE_CODE
from pprm.catalogue.popularity import FEATURES
from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part
from pprm.core.feature_groups import FeatureGroup, Layout
from pprm.state.user_state import BASKET_DECAY, DAY, UserState

COMMON = ("count", "decay7", "decay28", "decay112", "recent7", "recent28", "due")
"""Features of what was bought, of a product and of a group alike.

Log counts, exp(-gap / 7 d) and exp(-gap / 28 d), and gap / mean interval, halved.
"""
GROUP = (*COMMON, "rate112", "seen")
"""Features per type and per category: `COMMON`, the rate per basket, and 1."""
ITEM = (
    *COMMON,
    "due_distance",
    "per_basket",
    "rate28",
    "rate112",
    "rate_recent",
    "log_rate",
    "seen",
)
MAKER = ("count", "decay112")
SHARE = ("product_of_type", "type_of_category")
POPULARITY = FEATURES
PAIR = Layout(
    (
        FeatureGroup("product", ITEM),
        FeatureGroup("type", GROUP),
        FeatureGroup("category", GROUP),
        FeatureGroup("maker", MAKER),
        FeatureGroup("share", SHARE),
        FeatureGroup("popularity", POPULARITY),
    ),
    separator="_",
)
CROSS = PAIR.names
"""Columns of the cross features of a shopper and a product, in order."""
SCALARS = (
    "purchases",
    "baskets",
    "days_since",
    "basket_size",
    "baskets_per_week",
    "weekly_phase",
    "sentiment",
)

PRODUCT, TYPE, CATEGORY, MAKERS, GLOBAL = (
    PAIR.slices[name] for name in ("product", "type", "category", "maker", "popularity")
)
SHARE_OF_TYPE, SHARE_OF_CATEGORY = PAIR.at("share", "product_of_type", "type_of_category")
# where the loops below write, and how much
_PRODUCT, _TYPE, _CATEGORY, _MAKER, _GLOBAL = (
    part.start for part in (PRODUCT, TYPE, CATEGORY, MAKERS, GLOBAL)
)
_ITEM_WIDTH, _GROUP_WIDTH = len(ITEM), len(GROUP)
_MAKER_WIDTH, _GLOBAL_WIDTH = len(MAKER), len(POPULARITY)
_COUNT, _DECAY7, _DECAY28, _DECAY112, _RECENT7, _RECENT28, _DUE = (
    COMMON.index(name)
    for name in ("count", "decay7", "decay28", "decay112", "recent7", "recent28", "due")
)
_GROUP_RATE112, _GROUP_SEEN = GROUP.index("rate112"), GROUP.index("seen")
_DUE_DISTANCE, _PER_BASKET, _RATE28, _RATE112, _RATE_RECENT, _LOG_RATE, _SEEN = (
    ITEM.index(name)
    for name in (
        "due_distance", "per_basket", "rate28", "rate112", "rate_recent", "log_rate", "seen",
    )
)  # fmt: skip
_MAKER_COUNT, _MAKER_DECAY112 = MAKER.index("count"), MAKER.index("decay112")
ON_TIME = 0.5
"""Value of `due` when just the mean interval between two purchases has passed."""


def scalars(state: UserState, now: float) -> Floats:
    """Numbers about the shopper at Unix time `now`, as `SCALARS`."""
    named = {"weekly_phase": _phase(now), "sentiment": _sentiment(state)}
    if state.purchases:
        since = max(now - state.last_purchase, 0.0) / DAY
        span = max((now - state.first_purchase) / DAY, 1.0)
        named |= {
            "purchases": np.log1p(state.purchases) / 6,
            "baskets": np.log1p(state.baskets) / 4,
            "days_since": np.log1p(since) / 3,
            "basket_size": np.log1p(state.purchases / state.baskets) / 3,
            "baskets_per_week": np.log1p(state.baskets / span * 7),
        }
    return np.array([named.get(name, 0.0) for name in SCALARS], np.float32)


def _phase(now: float) -> float:
    return (now / DAY % 7) / 7


def _sentiment(state: UserState) -> float:
    return state.sentiment / state.reviews if state.reviews else 0.0


class Groups(NamedTuple):
    """Cross features of a shopper per product, type, category and maker bought.

    Row 0 of each table is zeros, for what was never bought; the others are in the order of the
    state.
    """

    rows: NDArray[np.int64]
    """Catalogue rows of the products bought that are known, [p]."""
    counters: NDArray[np.int64]
    """Their places among the state's counters, [p]."""
    decays: NDArray[np.float64]
    """Purchases decayed until now, [1 + p, DECAYS]."""
    ages: NDArray[np.float64]
    """Days since the newest purchase, [p]."""
    product_at: NDArray[np.int32]
    """Row of `product` for each catalogue row; likewise `type_at` for each type, and so on."""
    product: Floats
    """As `ITEM`, [1 + p, len(ITEM)]."""
    product_count: Floats
    """Purchases, [1 + p]."""
    type_at: NDArray[np.int32]
    type: Floats
    """As `GROUP`, [1 + t, len(GROUP)]."""
    type_count: Floats
    category_at: NDArray[np.int32]
    category: Floats
    """As `GROUP`, [1 + c, len(GROUP)]."""
    category_count: Floats
    maker_at: NDArray[np.int32]
    maker: Floats
    """As `MAKER`, [1 + m, len(MAKER)]."""


def groups(state: UserState, catalogue: Catalogue, now: float) -> Groups:
    """Cross features of all that the shopper bought, at Unix time `now`."""
    days = max(now - state.last_purchase, 0.0) / DAY
    return Groups(
        *_groups(
            state.product_counters(), catalogue.rows(state.product_keys()), catalogue.codes,
            catalogue.sizes, float(now), state.baskets,
            state.basket_decay28 * 2.0 ** (-days / 28),
            state.basket_decay112 * 2.0 ** (-days / 112),
        )
    )  # fmt: skip


BOUGHT, DECAYS = 7, 3
COUNT, DECAY7, DECAY28, DECAY112, PER_BASKET, FIRST_AGE, LAST_AGE = range(BOUGHT)
"""Columns of what was bought, as of now; ages are days before now."""
BY_7, BY_28, BY_112 = range(DECAYS)
"""Columns of `Groups.decays`, by their half-lives in days."""


@compiled
def _groups(
    counters: NDArray[Any], rows: NDArray[np.int64], codes: NDArray[np.int32],
    sizes: NDArray[np.int64], now: float,
    baskets: int, baskets28: float, baskets112: float,
) -> Any:  # fmt: skip
    known, places, bought = _bought(counters, rows, now, baskets)
    decays = np.zeros((len(known) + 1, DECAYS))
    for i in range(len(known)):
        for decay in range(DECAYS):
            decays[i + 1, decay] = bought[i, DECAY7 + decay]
    product_at = np.zeros(len(codes), np.int32)
    for i in range(len(known)):
        product_at[known[i]] = i + 1
    type_at, types = _grouped(bought, known, codes[:, TYPE_CODE], sizes[TYPE_CODE])
    category_at, categories = _grouped(bought, known, codes[:, CATEGORY_CODE], sizes[CATEGORY_CODE])
    maker_at, makers = _grouped(bought, known, codes[:, MAKER_CODE], sizes[MAKER_CODE])
    product, settled = (
        np.zeros((len(known) + 1, _ITEM_WIDTH), np.float32),
        1 - BASKET_DECAY ** float(max(baskets, 1)),
    )
    for i in range(len(known)):
        _fill_item(bought[i], product[i + 1], baskets, baskets28, baskets112, settled)
    maker = np.zeros((len(makers) + 1, _MAKER_WIDTH), np.float32)
    for i in range(len(makers)):
        maker[i + 1, _MAKER_COUNT] = math.log1p(makers[i, COUNT]) / 3
        maker[i + 1, _MAKER_DECAY112] = math.log1p(makers[i, DECAY112]) / 3
    return (
        known, places, decays, bought[:, LAST_AGE].copy(), product_at, product, _counts(bought),
        type_at, _group_rows(types, baskets112), _counts(types),
        category_at, _group_rows(categories, baskets112), _counts(categories), maker_at, maker,
    )  # fmt: skip


@part
def _bought(counters: NDArray[Any], rows: NDArray[np.int64], now: float, baskets: int) -> Any:
    """Return the known products' rows, places among the counters, and counters as of now."""
    known, places, n = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64), 0
    bought = np.empty((len(rows), BOUGHT))
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        counter = counters[i]
        known[n], places[n], out = rows[i], i, bought[n]
        age = max(now - counter.last, 0.0) / DAY
        # one power instead of three: what is left after 28 days' half-lives is its 4th power, and
        # after 7 days' its 16th
        by112 = 2.0 ** (-age / 112)
        by28 = by112**4
        out[COUNT] = counter.count
        out[DECAY7], out[DECAY28], out[DECAY112] = (
            counter.decay7 * by28**4,
            counter.decay28 * by28,
            counter.decay112 * by112,
        )
        out[PER_BASKET] = counter.basket_decay * BASKET_DECAY ** float(baskets - counter.basket)
        out[FIRST_AGE], out[LAST_AGE] = max(now - counter.first, 0.0) / DAY, age
        n += 1
    return known[:n], places[:n], bought[:n]


@part
def _grouped(
    bought: NDArray[np.float64], known: NDArray[np.int64], codes: NDArray[np.int32], size: int
) -> Any:
    """Index + 1 of each of `size` groups, 0 where nothing of it was bought.

    Also returns the sums, oldest and newest of each group.
    """
    at, sums, n = np.zeros(size, np.int32), np.empty(bought.shape), 0
    for i in range(len(known)):
        code = codes[known[i]]
        if at[code] == 0:
            for column in range(BOUGHT):
                sums[n, column] = bought[i, column]
            n += 1
            at[code] = n
            continue
        group = sums[at[code] - 1]
        for column in range(FIRST_AGE):
            group[column] += bought[i, column]
        group[FIRST_AGE] = max(group[FIRST_AGE], bought[i, FIRST_AGE])
        group[LAST_AGE] = min(group[LAST_AGE], bought[i, LAST_AGE])
    return at, sums[:n]


@part
def _counts(bought: NDArray[np.float64]) -> Any:
    out = np.zeros(len(bought) + 1, np.float32)
    for i in range(len(bought)):
        out[i + 1] = bought[i, COUNT]
    return out


@part
def _fill_common(counters: NDArray[np.float64], out: Floats) -> None:
    """Fill in `COMMON`, with which the columns of products and of groups begin."""
    count, last = counters[COUNT], counters[LAST_AGE]
    interval = (counters[FIRST_AGE] - last) / max(count - 1, 1.0)
    out[_COUNT], out[_DECAY7] = math.log1p(count), math.log1p(counters[DECAY7])
    out[_DECAY28], out[_DECAY112] = math.log1p(counters[DECAY28]), math.log1p(counters[DECAY112])
    recent28 = math.exp(-last / 28)
    out[_RECENT7], out[_RECENT28] = recent28**4, recent28
    out[_DUE] = (min(last / max(interval, 0.5), 4.0) if count > 1 else 2.0) / 2


@part
def _group_rows(sums: NDArray[np.float64], baskets112: float) -> Any:
    """Return a row of `GROUP` for each group, below a row of zeros."""
    out = np.zeros((len(sums) + 1, _GROUP_WIDTH), np.float32)
    for i in range(len(sums)):
        _fill_common(sums[i], out[i + 1])
        out[i + 1, _GROUP_RATE112] = sums[i, DECAY112] / max(baskets112, 1e-9)
        out[i + 1, _GROUP_SEEN] = 1
    return out


@part
def _fill_item(
    counters: NDArray[np.float64],
    out: Floats,
    baskets: int,
    baskets28: float,
    baskets112: float,
    settled: float,
) -> None:
    """Fill in `ITEM`.

    `settled` is the weight of the baskets so far, as a share of what it comes to with ever more of
    them.
    """
    _fill_common(counters, out)
    rate112 = counters[DECAY112] / max(baskets112, 1e-9)
    out[_DUE_DISTANCE] = abs(out[_DUE] - ON_TIME)
    out[_PER_BASKET] = counters[COUNT] / max(baskets, 1)
    out[_RATE28], out[_RATE112] = counters[DECAY28] / (baskets28 + 0.05), rate112
    out[_RATE_RECENT] = counters[PER_BASKET] * (1 - BASKET_DECAY) / settled
    out[_LOG_RATE], out[_SEEN] = math.log(rate112 + 0.01) / 4.6 + 1, 1


def dense(
    groups: Groups, catalogue: Catalogue, candidates: NDArray[np.int64], popularity: Floats
) -> Floats:
    """Cross features of candidate rows, as `CROSS`, [len(candidates), len(CROSS)].

    `popularity` [len(candidates), len(POPULARITY)] is theirs.
    """
    out = np.zeros((len(candidates), len(CROSS)), np.float32)
    lay_out(groups, catalogue.codes, candidates, popularity.astype(np.float32, copy=False), out)
    return out


@compiled
def lay_out(
    groups: Groups,
    codes: NDArray[np.int32],
    candidates: NDArray[np.int64],
    popularity: Floats,
    out: Floats,
) -> None:
    """Write `dense` into the first columns of `out` [len(candidates), len(CROSS) or more].

    `codes` are the catalogue's.
    """
    for k in range(len(candidates)):
        row = candidates[k]
        item, type_ = groups.product_at[row], groups.type_at[codes[row, TYPE_CODE]]
        category, maker = (
            groups.category_at[codes[row, CATEGORY_CODE]],
            groups.maker_at[codes[row, MAKER_CODE]],
        )
        for i in range(_ITEM_WIDTH):  # written out: a slice of a row costs more than its numbers
            out[k, _PRODUCT + i] = groups.product[item, i]
        for i in range(_GROUP_WIDTH):
            out[k, _TYPE + i] = groups.type[type_, i]
            out[k, _CATEGORY + i] = groups.category[category, i]
        for i in range(_MAKER_WIDTH):
            out[k, _MAKER + i] = groups.maker[maker, i]
        out[k, SHARE_OF_TYPE] = groups.product_count[item] / max(groups.type_count[type_], 1)
        out[k, SHARE_OF_CATEGORY] = groups.type_count[type_] / max(
            groups.category_count[category], 1
        )
        for i in range(_GLOBAL_WIDTH):
            out[k, _GLOBAL + i] = popularity[k, i]
