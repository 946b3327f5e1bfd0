"""The second stage's input: what is worth knowing of a few hundred candidates and too dear for a whole catalogue.

In groups: the first stage's own input and verdict; promotions, at the shopper's store and by their affinity; the
pattern of the last 64 baskets, per product and type; the hazard of the gap; collaborative factors; first-time buyers;
the last days' popularity; browsing; the moment. Everything is known before the visit, kept in O(1) an event, bounded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm import features, hazard, popularity, promotions
from pprm.basket_patterns import MOMENT, PATTERN, Baskets, exploration, moment, pattern
from pprm.catalogue import Catalogue
from pprm.features import Groups
from pprm.popularity import Popularity
from pprm.slow_tables import SlowTables
from pprm.user_state import DAY, MAX_BASKETS, UserState

Floats = NDArray[np.float32]

STAGE = ("logit", "log_rank", "log_rank_in_type", "share_of_type", "log_type_sum", "log_rank_in_category")
PROMOTION = (
    *promotions.SHARES, *(f"store_{name}" for name in promotions.AT_STORE), "own_mailer", "own_display",
)  # fmt: skip
TYPE_PATTERN = (*(f"type_{name}" for name in PATTERN), "type_products")
HAZARD = ("hazard", "type_hazard")
FACTORS = ("factors",)
TRIAL = (
    "first_week", "first_month", "growth", "first_share", "first_in_type", "type_firsts", "type_first_share",
    "buyers", "share_of_type_28", "first_trend",
)  # fmt: skip
FAST = ("day", "three_days", "week_trend", "type_trend")
BROWSE = ("session", "today", "week", "cart", "removed", "dwell", "recency", "type_week", "type_cart", "maker_week")

GROUPS = {
    "first_stage_input": features.CROSS, "first_stage": STAGE, "promotion": PROMOTION, "pattern": PATTERN,
    "type_pattern": TYPE_PATTERN, "hazard": HAZARD, "factors": FACTORS, "trial": TRIAL, "fast": FAST,
    "browse": BROWSE, "moment": MOMENT,
}  # fmt: skip
NAMES = tuple(f"{group}.{name}" for group, names in GROUPS.items() for name in names)
"""Columns, in order."""
_ENDS = np.cumsum([len(names) for names in GROUPS.values()]).tolist()
COLUMNS = dict(zip(GROUPS, (slice(a, b) for a, b in zip([0, *_ENDS], _ENDS, strict=False)), strict=True))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of one shopper and what the first stage says of them; K of them."""

    rows: NDArray[np.int64]
    """Catalogue rows, [K]."""
    logits: Floats
    """Of the first stage, [K]."""
    groups: Groups
    """The shopper's cross features (`features.groups`)."""


@dataclass(frozen=True, slots=True)
class _Daily:
    """Per catalogue row, what does not depend on the shopper and changes with the day or the catalogue."""

    popularity: Floats
    """As `features.GLOBAL`, [rows, 4]."""
    global_: Floats
    """Promotion shares, trial and fast, [rows, 19]."""


class CandidateFeatures:
    """Computes the features; one thread owns it."""

    def __init__(self, catalogue: Catalogue, counts: Popularity) -> None:
        self.catalogue, self.counts = catalogue, counts
        self._version: tuple[int, ...] = ()
        self._made = _Daily(np.zeros((0, 4), np.float32), np.zeros((0, 19), np.float32))

    def of(
        self,
        state: UserState,
        now: float,
        tables: SlowTables,
        candidates: Candidates,
        keep: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Features at Unix time `now`, [K, len(NAMES)], or of those candidates only whose indices are in `keep`."""
        keep = np.arange(len(candidates.rows)) if keep is None else keep
        rows, daily = candidates.rows[keep], self._daily(now)
        out = np.zeros((len(rows), len(NAMES)), np.float32)
        promoted = self.catalogue.promoted(now)
        baskets = Baskets.of(state, now)
        out[:, COLUMNS["first_stage_input"]] = features.dense(
            candidates.groups, self.catalogue, rows, daily.popularity[rows]
        )
        out[:, COLUMNS["first_stage"]] = _stage(candidates, self.catalogue)[keep]
        own = np.array([state.mailer, state.display]) / max(state.promotions, 1.0)
        promotion = out[:, COLUMNS["promotion"]]
        promotion[:, :5] = daily.global_[rows, :5]
        promotion[:, 5:10] = promoted.at_store(baskets.usual_store, rows)
        promotion[:, 10:] = own
        self._histories(out, state, now, tables, rows, baskets)
        out[:, COLUMNS["trial"]] = daily.global_[rows, 5:15]
        out[:, COLUMNS["fast"]] = daily.global_[rows, 15:]
        if state.browsed_keys:
            out[:, COLUMNS["browse"]] = _browse(state, now, rows, self.catalogue)
        out[:, COLUMNS["moment"]][:, :-1] = moment(baskets)
        return out

    def _histories(
        self,
        out: Floats,
        state: UserState,
        now: float,
        tables: SlowTables,
        rows: NDArray[np.int64],
        baskets: "Baskets",
    ) -> None:
        """What the shopper bought: patterns, hazards, factors."""
        catalogue = self.catalogue
        bought = catalogue.rows(state.product_keys())
        known = bought >= 0
        bought, counters = bought[known], state.product_counters()[known]
        if not len(bought):
            out[:, COLUMNS["hazard"]] = 0.0
            return
        rings = counters["ring"] << np.minimum(state.baskets - counters["basket"], 63).astype(np.uint64)
        rings[state.baskets - counters["basket"] >= MAX_BASKETS] = 0
        out[:, COLUMNS["moment"].stop - 1] = exploration(rings, counters["count"])
        item, type_ = catalogue.type[bought], catalogue.type[rows]
        types, inverse = np.unique(item, return_inverse=True)
        by_type = np.zeros(len(types), np.uint64)
        np.bitwise_or.at(by_type, inverse, rings)
        products_of_type = np.bincount(inverse)
        hit, at = features.find(bought, rows)
        out[at, COLUMNS["pattern"]] = pattern(rings, baskets)[hit]
        type_hit, type_at = features.find(types.astype(np.int64), type_)
        patterns = np.column_stack([pattern(by_type, baskets), np.log1p(products_of_type)])
        out[type_at, COLUMNS["type_pattern"]] = patterns[type_hit]
        age = np.maximum(now - counters["last"].astype(np.float64), 0) / DAY
        type_age = np.full(len(types), np.inf)
        np.minimum.at(type_age, inverse, age)
        hazards = out[:, COLUMNS["hazard"]]
        hazards[at, 0] = tables.product_hazard(catalogue, rows[at], hazard.bucket(age)[hit])
        hazards[type_at, 1] = tables.type_hazard(catalogue, type_[type_at], hazard.bucket(type_age)[type_hit])
        counts = counters["decay112"] * 2.0 ** (-age / 112)
        out[:, COLUMNS["factors"]] = tables.affinity(catalogue, bought, counts, rows)[:, None]

    def _daily(self, now: float) -> _Daily:
        """What only changes with the day, made again when it has."""
        catalogue, counts = self.catalogue, self.counts
        promoted = catalogue.promoted(now)
        version = (catalogue.version, counts.changes, catalogue.promotions.version, int(now // DAY))
        if version != self._version:
            self._version = version
            numbers = counts.counters(catalogue.hashes)
            trial, fast = _trial(numbers, catalogue), _fast(numbers, catalogue)
            global_ = np.concatenate([promoted.shares.astype(np.float64), trial, fast], 1).astype(np.float32)
            self._made = _Daily(counts.features(catalogue.hashes), global_)
        return self._made


def _stage(candidates: Candidates, catalogue: Catalogue) -> Floats:
    """The first stage's verdict and the place that it gives a candidate among the others."""
    logits, rows = candidates.logits.astype(np.float64), candidates.rows
    probability = 1 / (1 + np.exp(-logits))
    _, type_ = np.unique(catalogue.type[rows], return_inverse=True)
    _, category = np.unique(catalogue.category[rows], return_inverse=True)
    mass = np.bincount(type_, probability)[type_]
    columns = (
        logits, np.log1p(ranks(-logits, np.zeros_like(type_))), np.log1p(ranks(-logits, type_)),
        probability / mass, np.log(mass + 1e-6), np.log1p(ranks(-logits, category)),
    )  # fmt: skip
    return np.stack(columns, 1).astype(np.float32)


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
        (month + 1) / (all_month + 3), np.log((month + 0.1) / (type_month + 2)), np.log1p(type_month),
        (type_month + 1) / (type_all + 3), np.log1p(adopters), np.log((all_month + 0.1) / (type_all + 2)),
        np.log((week + 1) / (month / 4 + 1)),
    )  # fmt: skip
    return np.stack(columns, 1)


def _fast(numbers: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    """The last days, [rows, 4]."""
    p, log2 = popularity, np.log(2)
    week, month = numbers[:, p.WEEK] * log2, numbers[:, p.MONTH] * log2
    type_week, type_month = _by_type(week, catalogue), _by_type(month, catalogue)
    columns = (
        np.log1p(numbers[:, p.ONE_DAY]), np.log1p(numbers[:, p.THREE_DAYS]), np.log((week + 2) / (month / 4 + 2)),
        np.log((type_week + 5) / (type_month / 4 + 5)),
    )  # fmt: skip
    return np.stack(columns, 1)


def _by_type(values: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    return np.bincount(catalogue.type, values, len(catalogue.types)).astype(np.float64)[catalogue.type]


def _browse(state: UserState, now: float, rows: NDArray[np.int64], catalogue: Catalogue) -> Floats:
    """What the shopper looked at, as `BROWSE`, [K, 10]."""
    keys, counters = state.looked_at()
    looked = catalogue.rows(keys)
    looked, counters = looked[looked >= 0], counters[looked >= 0]
    age = np.maximum(now - counters["last"].astype(np.float64), 0) / DAY
    week = 2.0 ** (-age / 7)
    columns = [
        counters["session"] * 2.0 ** (-age * 48), counters["day"] * 2.0 ** (-age * 4), counters["week"] * week,
        counters["cart"] * week, counters["removed"] * week, counters["dwell"] * week,
    ]  # fmt: skip
    values = np.log1p(np.stack(columns, 1))
    out = np.zeros((len(rows), len(BROWSE)), np.float32)
    hit, at = features.find(looked, rows)
    out[at, :6] = values[hit]
    out[at, 6] = np.exp(-age[hit])
    for column, of, value in (
        (7, catalogue.type, columns[2]), (8, catalogue.type, columns[3]), (9, catalogue.maker, columns[2]),
    ):  # fmt: skip
        out[:, column] = np.log1p(np.bincount(of[looked], value, int(of.max(initial=0)) + 1)[of[rows]])
    return out
