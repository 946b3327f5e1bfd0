"""The second stage's input: features of a few hundred candidates.

They are too expensive for a whole catalogue.

In groups: the first stage's own input and verdict; promotions, at the shopper's store and by their
affinity; the pattern of the last 64 baskets, per product and type; the hazard of the gap;
collaborative factors; first-time buyers; the last days' popularity; browsing; the moment.
Everything is known before the visit, kept in O(1) an event, bounded.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue import popularity, promotions
from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.compiled import compiled
from pprm.ranking import basket_patterns
from pprm.ranking.basket_patterns import MOMENT, PATTERN, Baskets, moment, patterns
from pprm.ranking.slow_tables import LaidOut, SlowTables
from pprm.retrieval import features
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.features import Groups
from pprm.state.user_state import DAY, UserState

Floats = NDArray[np.float32]

STAGE = (
    "logit",
    "log_rank",
    "log_rank_in_type",
    "share_of_type",
    "log_type_sum",
    "log_rank_in_category",
)
PROMOTION = (
    *promotions.SHARES, *(f"store_{name}" for name in promotions.AT_STORE), "own_mailer",
    "own_display",
)  # fmt: skip
TYPE_PATTERN = (*(f"type_{name}" for name in PATTERN), "type_products")
HAZARD = ("hazard", "type_hazard")
FACTORS = ("factors",)
NEIGHBOURS = ("neighbours",)
SUBSTITUTION = ("type_baskets_since", "share_28", "share_112")
TRIAL = (
    "first_week", "first_month", "growth", "first_share", "first_in_type", "type_firsts",
    "type_first_share",
    "buyers", "share_of_type_28", "first_trend",
)  # fmt: skip
FAST = ("day", "three_days", "week_trend", "type_trend")
BROWSE = (
    "session",
    "today",
    "week",
    "cart",
    "removed",
    "dwell",
    "recency",
    "type_week",
    "type_cart",
    "maker_week",
)

GROUPS = {
    "first_stage_input": features.CROSS, "first_stage": STAGE, "promotion": PROMOTION,
    "pattern": PATTERN,
    "type_pattern": TYPE_PATTERN, "hazard": HAZARD, "factors": FACTORS, "neighbours": NEIGHBOURS,
    "substitution": SUBSTITUTION, "trial": TRIAL, "fast": FAST, "browse": BROWSE, "moment": MOMENT,
}  # fmt: skip
NAMES = tuple(f"{group}.{name}" for group, names in GROUPS.items() for name in names)
"""Columns, in order."""
_ENDS = np.cumsum([len(names) for names in GROUPS.values()]).tolist()
COLUMNS = dict(
    zip(GROUPS, (slice(a, b) for a, b in zip([0, *_ENDS], _ENDS, strict=False)), strict=True)
)
_PROMOTION, _TRIAL, _SUBSTITUTION, _MOMENT = (
    COLUMNS[group].start for group in ("promotion", "trial", "substitution", "moment")
)
_AT_STORE = slice(_PROMOTION + 5, _PROMOTION + 10)
_TYPE_PRODUCTS = COLUMNS["type_pattern"].stop - 1


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for all shoppers until popularity or the catalogue changes, per row."""

    popularity: Floats
    """As `features.GLOBAL`, [rows, 4]."""
    others: Floats
    """`TRIAL` and `FAST`, [rows, 14]."""


class CandidateFeatures:
    """Computes the features; one thread owns it."""

    def __init__(self, catalogue: Catalogue, counts: Popularity) -> None:
        self.catalogue, self.counts = catalogue, counts
        self._version: tuple[int, ...] = ()
        self._made = _Shared(np.zeros((0, 4), np.float32), np.zeros((0, 14), np.float32))
        self._laid_out: tuple[SlowTables, int, LaidOut] | None = None

    def of(
        self,
        state: UserState,
        now: float,
        tables: SlowTables,
        candidates: Candidates,
        keep: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Make features at Unix time `now`, [K, len(NAMES)].

        Where `keep` is given, only of the candidates with these indices.
        """
        rows, catalogue, baskets = candidates.rows, self.catalogue, Baskets.of(state, now)
        shared, promoted = self._shared(), catalogue.promoted(now)
        out = np.zeros((len(rows), len(NAMES)), np.float32)
        features.lay_out(candidates.groups, catalogue.codes, rows, shared.popularity[rows], out)
        _fill_stage(
            candidates.logits,
            rows,
            catalogue.codes,
            catalogue.sizes,
            out[:, COLUMNS["first_stage"]],
        )
        out[:, _AT_STORE] = promoted.at_store(baskets.usual_store, rows)
        explores = self._histories(out, state, tables, candidates.groups, rows, baskets)
        own = np.array([state.mailer, state.display]) / max(state.promotions, 1.0)
        same = np.array([*own, *moment(baskets, now), explores], np.float32)
        _fill_shared(rows, promoted.shares, shared.others, same, out)
        if state.browsed_keys:
            _browse(state, now, rows, catalogue, out[:, COLUMNS["browse"]])
        return out if keep is None else out[keep]

    def _histories(
        self,
        out: Floats,
        state: UserState,
        tables: SlowTables,
        groups: Groups,
        rows: NDArray[np.int64],
        baskets: Baskets,
    ) -> float:
        """Fill in what the shopper bought: patterns, hazards, factors, neighbours.

        Returns how much the shopper explores.
        """
        if not len(groups.rows):
            return 0.0
        rings, explores = basket_patterns.rings(
            state.product_counters(), groups.counters, state.baskets
        )
        mine, types = _fill_types(groups, self.catalogue.codes, rings, rows, baskets.masks, out)
        patterns(mine, baskets, out[:, COLUMNS["pattern"]])
        patterns(types, baskets, out[:, COLUMNS["type_pattern"]][:, :-1])
        laid_out = self._over_the_catalogue(tables)
        out[:, COLUMNS["hazard"]] = laid_out.hazard(groups, rows)
        out[:, COLUMNS["factors"].start] = laid_out.affinity(groups, rows)
        out[:, COLUMNS["neighbours"].start] = laid_out.neighbours(groups, rows)
        return explores

    def _over_the_catalogue(self, tables: SlowTables) -> LaidOut:
        if (
            self._laid_out is None
            or self._laid_out[0] is not tables
            or self._laid_out[1] != self.catalogue.version
        ):
            self._laid_out = tables, self.catalogue.version, tables.over(self.catalogue)
        return self._laid_out[2]

    def _shared(self) -> _Shared:
        """Made again when what it is made of has changed."""
        catalogue, counts = self.catalogue, self.counts
        version = (catalogue.version, counts.changes)
        if version != self._version:
            self._version = version
            numbers = counts.counters(catalogue.hashes)
            others = np.concatenate([_trial(numbers, catalogue), _fast(numbers, catalogue)], 1)
            self._made = _Shared(popularity.features(numbers), others.astype(np.float32))
        return self._made


@compiled
def _fill_shared(
    rows: NDArray[np.int64], shares: Floats, others: Floats, same: Floats, out: Floats
) -> None:
    """Fill in what is known of products by catalogue row, and what is the same for all candidates.

    These are their own promotions, and the moment.
    """
    for k in range(len(rows)):
        row = rows[k]
        for i in range(5):
            out[k, _PROMOTION + i] = shares[row, i]
        for i in range(2):
            out[k, _PROMOTION + 10 + i] = same[i]
        for i in range(14):
            out[k, _TRIAL + i] = others[row, i]
        for i in range(8):
            out[k, _MOMENT + i] = same[2 + i]


@compiled
def _fill_types(
    g: Groups, codes: NDArray[np.int32], rings: NDArray[np.uint64], rows: NDArray[np.int64],
    masks: NDArray[np.uint64],
    out: Floats,
) -> Any:  # fmt: skip
    """Fill in the products of each candidate's type that the shopper had, and `SUBSTITUTION`.

    The number of products is a logarithm. Returns the rings of the candidates, and of their types.
    """
    of_types = np.zeros(len(g.type), np.uint64)
    products, sums = np.zeros(len(g.type)), np.zeros((len(g.type), 2))
    for i in range(len(rings)):
        type_ = g.type_at[codes[g.rows[i], 0]]
        of_types[type_] |= rings[i]
        products[type_] += 1
        sums[type_, 0] += g.decays[i + 1, 1]
        sums[type_, 1] += g.decays[i + 1, 2]
    for type_ in range(len(products)):
        products[type_] = math.log1p(products[type_])
    mine, types = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    for k in range(len(rows)):
        item, type_ = g.product_at[rows[k]], g.type_at[codes[rows[k], 0]]
        types[k], out[k, _TYPE_PRODUCTS] = of_types[type_], products[type_]
        if item > 0:
            mine[k] = rings[item - 1]
            # baskets that held the type since the one that held the product
            bits, since = mine[k] & masks[0], types[k] & masks[0]
            newest = bits & (~bits + np.uint64(1))
            since, count = since & (newest - np.uint64(1)), 0
            while since != 0:
                since, count = since & (since - np.uint64(1)), count + 1
            out[k, _SUBSTITUTION] = math.log1p(count)
            out[k, _SUBSTITUTION + 1] = g.decays[item, 1] / (sums[type_, 0] + 0.1)
            out[k, _SUBSTITUTION + 2] = g.decays[item, 2] / (sums[type_, 1] + 0.1)
    return mine, types


@compiled
def _fill_stage(
    logits: Floats,
    rows: NDArray[np.int64],
    codes: NDArray[np.int32],
    sizes: NDArray[np.int64],
    out: Floats,
) -> None:
    """Fill in `STAGE`.

    That is the first stage's verdict, and the place that it gives a candidate among the others.
    """
    of_type, of_category, mass = (
        np.zeros(sizes[0], np.int32),
        np.zeros(sizes[1], np.int32),
        np.zeros(sizes[0]),
    )
    order = np.argsort(-logits, kind="mergesort")
    for place in range(len(order)):
        k = order[place]
        type_, category = codes[rows[k], 0], codes[rows[k], 1]
        out[k, 0], out[k, 1] = logits[k], math.log1p(place)
        out[k, 2], out[k, 5] = math.log1p(of_type[type_]), math.log1p(of_category[category])
        of_type[type_] += 1
        of_category[category] += 1
        mass[type_] += 1 / (1 + math.exp(-np.float64(logits[k])))
    for k in range(len(rows)):
        # 0 where all are so unlikely that a number does not tell
        of_its_type = mass[codes[rows[k], 0]]
        share = 1 / (1 + math.exp(-np.float64(logits[k]))) / max(of_its_type, 1e-300)
        out[k, 3], out[k, 4] = share, math.log(of_its_type + 1e-6)


def ranks(values: NDArray[Any], group: NDArray[Any]) -> NDArray[np.float64]:
    """Rank of each value within its group, the lowest 0."""
    order = np.lexsort((values, group))
    sorted_ = group[order]
    start = np.r_[0, np.flatnonzero(np.diff(sorted_)) + 1]
    ranks = np.arange(len(values)) - np.repeat(start, np.diff(np.r_[start, len(values)]))
    out = np.empty(len(values))
    out[order] = ranks
    return out


def _trial(numbers: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    """First purchases by a shopper, [rows, 10]: how many try the product who did not have it."""
    p, log2 = popularity, np.log(2)
    week, month = numbers[:, p.FIRST_WEEK] * log2, numbers[:, p.FIRST_MONTH] * log2
    all_month, adopters = numbers[:, p.MONTH] * log2, numbers[:, p.BUYERS]
    type_month, type_all = _by_type(month, catalogue), _by_type(all_month, catalogue)
    columns = (
        np.log1p(week), np.log1p(month), np.log((month + 0.5) / (adopters + 5)),
        (month + 1) / (all_month + 3), np.log((month + 0.1) / (type_month + 2)),
        np.log1p(type_month),
        (type_month + 1) / (type_all + 3), np.log1p(adopters),
        np.log((all_month + 0.1) / (type_all + 2)),
        np.log((week + 1) / (month / 4 + 1)),
    )  # fmt: skip
    return np.stack(columns, 1)


def _fast(numbers: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    """The last days, [rows, 4]."""
    p, log2 = popularity, np.log(2)
    week, month = numbers[:, p.WEEK] * log2, numbers[:, p.MONTH] * log2
    type_week, type_month = _by_type(week, catalogue), _by_type(month, catalogue)
    columns = (
        np.log1p(numbers[:, p.ONE_DAY]), np.log1p(numbers[:, p.THREE_DAYS]),
        np.log((week + 2) / (month / 4 + 2)),
        np.log((type_week + 5) / (type_month / 4 + 5)),
    )  # fmt: skip
    return np.stack(columns, 1)


def _by_type(values: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    return np.bincount(catalogue.type, values, len(catalogue.types)).astype(np.float64)[
        catalogue.type
    ]


def _browse(
    state: UserState, now: float, rows: NDArray[np.int64], catalogue: Catalogue, out: Floats
) -> None:
    """What the shopper looked at, as `BROWSE`, [K, 10]."""
    keys, counters = state.looked_at()
    _fill_browse(
        counters, catalogue.rows(keys), rows, catalogue.codes, catalogue.sizes, float(now), out
    )


@compiled
def _fill_browse(
    counters: NDArray[Any], looked: NDArray[np.int64], rows: NDArray[np.int64],
    codes: NDArray[np.int32],
    sizes: NDArray[np.int64], now: float, out: Floats,
) -> None:  # fmt: skip
    at = np.zeros(len(codes), np.int32)
    values, recency = np.zeros((len(looked) + 1, 6)), np.zeros(len(looked) + 1)
    types, carts, makers = np.zeros(sizes[0]), np.zeros(sizes[0]), np.zeros(sizes[2])
    for i in range(len(looked)):
        if looked[i] < 0:
            continue
        c, value = counters[i], values[i + 1]
        age = max(now - c.last, 0.0) / DAY
        week = 2.0 ** (-age / 7)
        value[0], value[1], value[2] = (
            c.session * 2.0 ** (-age * 48),
            c.day * 2.0 ** (-age * 4),
            c.week * week,
        )
        value[3], value[4], value[5] = c.cart * week, c.removed * week, c.dwell * week
        recency[i + 1], at[looked[i]] = math.exp(-age), i + 1
        types[codes[looked[i], 0]] += value[2]
        carts[codes[looked[i], 0]] += value[3]
        makers[codes[looked[i], 2]] += value[2]
    for k in range(len(rows)):
        row = rows[k]
        for column in range(6):
            out[k, column] = math.log1p(values[at[row], column])
        out[k, 6] = recency[at[row]]
        out[k, 7], out[k, 8] = math.log1p(types[codes[row, 0]]), math.log1p(carts[codes[row, 0]])
        out[k, 9] = math.log1p(makers[codes[row, 2]])
