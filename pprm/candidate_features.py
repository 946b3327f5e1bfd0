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
PATTERN = (
    "in_last", "in_2nd_last", "in_3rd_last", "in_4th_last", "of_5", "of_10", "of_20", "same_weekday", "same_daypart",
    "same_store", "baskets_since", "due_in_baskets", "gap_variation", "gap_to_last_gap", "log_mean_gap", "repeated",
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
MOMENT = ("hour", "weekday", "since", "since_before", "last_size", "baskets_7", "baskets_28", "exploration")

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
        baskets = _Baskets.of(state, now)
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
        out[:, COLUMNS["moment"]][:, :-1] = _moment(baskets)
        return out

    def _histories(
        self,
        out: Floats,
        state: UserState,
        now: float,
        tables: SlowTables,
        rows: NDArray[np.int64],
        baskets: "_Baskets",
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
        out[:, COLUMNS["moment"].stop - 1] = _exploration(rings, counters["count"])
        item, type_ = catalogue.type[bought], catalogue.type[rows]
        types, inverse = np.unique(item, return_inverse=True)
        by_type = np.zeros(len(types), np.uint64)
        np.bitwise_or.at(by_type, inverse, rings)
        products_of_type = np.bincount(inverse)
        hit, at = features.find(bought, rows)
        out[at, COLUMNS["pattern"]] = _pattern(rings, baskets)[hit]
        type_hit, type_at = features.find(types.astype(np.int64), type_)
        patterns = np.column_stack([_pattern(by_type, baskets), np.log1p(products_of_type)])
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
        logits, np.log1p(_ranks(-logits, np.zeros_like(type_))), np.log1p(_ranks(-logits, type_)),
        probability / mass, np.log(mass + 1e-6), np.log1p(_ranks(-logits, category)),
    )  # fmt: skip
    return np.stack(columns, 1).astype(np.float32)


def _ranks(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank of each value within its group, the lowest 0."""
    order = np.lexsort((values, group))
    sorted_ = group[order]
    start = np.r_[0, np.flatnonzero(np.diff(sorted_)) + 1]
    ranks = np.arange(len(values)) - np.repeat(start, np.diff(np.r_[start, len(values)]))
    out = np.empty(len(values))
    out[order] = ranks
    return out


_DAYPARTS = np.array([0.5, 0.71]) * DAY
"""Noon, and five in the evening."""


def _daypart(seconds: NDArray[Any]) -> NDArray[np.int64]:
    return np.searchsorted(_DAYPARTS, seconds, side="right")


@dataclass(frozen=True, slots=True)
class _Baskets:
    """The shopper's last baskets, newest first, B of them, as of a moment."""

    ages: NDArray[np.float64]
    """Days, [B]."""
    sizes: NDArray[np.int64]
    marks: NDArray[np.float64]
    """What a bit of a ring counts for: of the last 5, 10, 20; any; on this weekday; in this part of the day; at the
    usual store; [B, 7]."""
    usual_store: int
    """The most frequent store of the last 10 baskets, 0 where none is known."""
    phase: float
    """Share of the day that is over."""
    weekday: int

    @classmethod
    def of(cls, state: UserState, now: float) -> "_Baskets":
        held = state.recent_baskets()[::-1]
        time, store = held["time"].astype(np.int64), held["store"]
        usual = _most_frequent(store[:10])
        day = int(now // DAY)
        order = np.arange(len(held))
        part = _daypart(time % DAY) == _daypart(np.array(now % DAY))
        marks = [order < 5, order < 10, order < 20, order >= 0, time // int(DAY) % 7 == day % 7, part, store == usual]
        return cls(
            np.maximum(now - time, 0) / DAY, held["size"].astype(np.int64), np.stack(marks, 1).astype(np.float64),
            usual, now % DAY / DAY, day % 7,
        )  # fmt: skip


def _most_frequent(stores: NDArray[np.uint32]) -> int:
    known, counts = np.unique(stores[stores > 0], return_counts=True)
    return int(known[counts.argmax()]) if len(known) else 0


def _pattern(rings: NDArray[np.uint64], baskets: _Baskets) -> Floats:
    """As `PATTERN`, for rings aligned with the newest basket, [n, 16]."""
    n, known = len(rings), len(baskets.ages)
    bits = np.unpackbits(rings.astype("<u8").view(np.uint8).reshape(n, 8), axis=1, bitorder="little")[:, :known]
    counted = bits @ baskets.marks
    times = counted[:, 3]
    any_ = times > 0
    row, column = np.nonzero(bits)
    start = np.searchsorted(row, np.arange(n))[any_]
    newest, oldest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    newest[any_] = column[start]
    oldest[any_] = column[start + times[any_].astype(np.int64) - 1]
    age = baskets.ages[column]
    same = row[1:] == row[:-1]
    gaps = np.where(same, age[1:] - age[:-1], 0.0)
    squares = np.bincount(row[1:], gaps**2, n) if len(row) else np.zeros(n)
    last_gap = np.zeros(n)
    twice = times > 1
    last_gap[twice] = gaps[np.searchsorted(row, np.flatnonzero(twice))]
    out = np.zeros((n, len(PATTERN)), np.float32)
    out[:, :4] = np.pad(bits[:, :4], ((0, 0), (0, max(4 - known, 0))))
    out[:, 4:7] = counted[:, :3]
    out[:, 7] = (counted[:, 4] + 0.3) / (times + 2)
    out[:, 8] = (counted[:, 5] + 0.6) / (times + 2)
    out[:, 9] = counted[:, 6] / np.maximum(times, 1)
    since = np.where(any_, newest, known)
    out[:, 10] = np.log1p(since)
    intervals = np.maximum(times - 1, 1)
    span = baskets.ages[oldest] - baskets.ages[newest] if known else np.zeros(n)
    mean = np.maximum(span / intervals, 0.3)
    gap = baskets.ages[newest] if known else np.zeros(n)
    more = (
        np.minimum((since + 1) / np.maximum((oldest - newest) / intervals, 1), 5),
        np.minimum(np.sqrt(np.maximum(squares / intervals - mean**2, 0)) / mean, 5),
        np.minimum(gap / np.maximum(last_gap, 0.5), 6),
        np.log(mean),
        np.ones(n),
    )
    out[:, 11:] = np.stack(more, 1) * twice[:, None]
    return out * any_[:, None]


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


def _exploration(rings: NDArray[np.uint64], counts: NDArray[Any]) -> float:
    """Share of the products of the last five baskets that were never bought before them."""
    lately = np.bitwise_count(rings & np.uint64(0b11111))
    return float((lately == counts)[lately > 0].mean()) if lately.any() else 0.0


def _moment(baskets: _Baskets) -> NDArray[Any]:
    """The moment, and the shopper's rhythm, [7]."""
    ages, sizes = baskets.ages, baskets.sizes
    return np.array(
        [
            baskets.phase, baskets.weekday / 7,
            min(ages[0], 60) if len(ages) else 60, min(ages[1], 60) if len(ages) > 1 else 60,
            sizes[0] if len(sizes) else 0, (ages < 7).sum(), (ages < 28).sum(),
        ]
    )  # fmt: skip
