"""What ranking reads: features of a few hundred candidates.

They are too expensive for a whole catalogue.

In groups: retrieval's own input and verdict; promotions, at the shopper's store and by their
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
from pprm.catalogue.codes import CATEGORY_CODE, TYPE_CODE
from pprm.catalogue.popularity import Popularity
from pprm.core.arrays import Floats
from pprm.core.compiled import compiled
from pprm.core.feature_groups import FeatureGroup, Layout
from pprm.core.order import descending
from pprm.ranking import basket_patterns
from pprm.ranking.basket_patterns import EVERY, MOMENT, PATTERN, Baskets, moment, patterns
from pprm.ranking.browsing import BROWSE
from pprm.ranking.known import Known
from pprm.ranking.slow_tables import HAZARD, LaidOut, SlowTables
from pprm.retrieval import features
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.features import BY_28, BY_112, DECAYS, Groups
from pprm.state.user_state import UserState

RETRIEVAL_INPUT = FeatureGroup("first_stage_input", features.CROSS)
RETRIEVAL = FeatureGroup(
    "first_stage",
    (
        "logit", "log_rank", "log_rank_in_type", "share_of_type", "log_type_sum",
        "log_rank_in_category",
    ),
)  # fmt: skip
AT_STORE = tuple(f"store_{name}" for name in promotions.AT_STORE)
OWN = ("own_mailer", "own_display")
"""Shares of the promotions that the shopper took up."""
PROMOTION = FeatureGroup("promotion", (*promotions.SHARES, *AT_STORE, *OWN))
OF_TYPE = tuple(f"type_{name}" for name in PATTERN)
TYPE_PATTERN = FeatureGroup("type_pattern", (*OF_TYPE, "type_products"))
SUBSTITUTION = FeatureGroup("substitution", ("type_baskets_since", "share_28", "share_112"))
TRIAL = FeatureGroup(
    "trial",
    (
        "first_week", "first_month", "growth", "first_share", "first_in_type", "type_firsts",
        "type_first_share", "buyers", "share_of_type_28", "first_trend",
    ),
)  # fmt: skip
FAST = FeatureGroup("fast", ("day", "three_days", "week_trend", "type_trend"))

LAYOUT = Layout(
    (
        RETRIEVAL_INPUT,
        RETRIEVAL,
        PROMOTION,
        PATTERN,
        TYPE_PATTERN,
        HAZARD,
        FeatureGroup("factors", ("factors",)),
        FeatureGroup("neighbours", ("neighbours",)),
        SUBSTITUTION,
        TRIAL,
        FAST,
        BROWSE,
        MOMENT,
    )
)
"""An artifact knows its columns by name: with another layout the model is trained again.

So a group keeps the name that artifacts and reports have for it.
"""
NAMES = LAYOUT.names
"""Columns, in order."""
COLUMNS = LAYOUT.slices
assert COLUMNS[RETRIEVAL_INPUT.name].start == 0, "features.lay_out fills the first columns"

_FILLED = [(group.fill, COLUMNS[group.name]) for group in LAYOUT.groups if group.fill]
_AT_STORE, _TYPE_PATTERN = LAYOUT.run("promotion", AT_STORE), LAYOUT.run("type_pattern", OF_TYPE)
(_TYPE_PRODUCTS,) = LAYOUT.at("type_pattern", "type_products")
(_FACTORS,), (_NEIGHBOURS,) = LAYOUT.at("factors", "factors"), LAYOUT.at("neighbours", "neighbours")
_TYPE_SINCE, _SHARE_28, _SHARE_112 = LAYOUT.at(
    "substitution", "type_baskets_since", "share_28", "share_112"
)
# what a loop copies: from where it begins, so many columns
_SHARES = LAYOUT.run("promotion", promotions.SHARES).start
_OWN = LAYOUT.run("promotion", OWN).start
_TRIAL, _FAST, _MOMENT = (COLUMNS[name].start for name in ("trial", "fast", "moment"))
_SHARES_WIDTH, _OWN_WIDTH = len(promotions.SHARES), len(OWN)
_TRIAL_WIDTH, _FAST_WIDTH, _MOMENT_WIDTH = len(TRIAL), len(FAST), len(MOMENT)
_LOGIT, _RANK, _RANK_IN_TYPE, _SHARE_OF_TYPE, _TYPE_SUM, _RANK_IN_CATEGORY = RETRIEVAL.at(
    "logit", "log_rank", "log_rank_in_type", "share_of_type", "log_type_sum",
    "log_rank_in_category",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for all shoppers until popularity or the catalogue changes, per row."""

    popularity: Floats
    """As `features.POPULARITY`, [rows, len(POPULARITY)]."""
    others: Floats
    """`TRIAL` and `FAST`, [rows, len(TRIAL) + len(FAST)]."""


class CandidateFeatures:
    """Computes the features; one thread owns it."""

    def __init__(self, catalogue: Catalogue, counts: Popularity) -> None:
        self.catalogue, self.counts = catalogue, counts
        self._version: tuple[int, ...] = ()
        self._made: _Shared | None = None
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
        _fill_retrieval(
            candidates.logits,
            rows,
            catalogue.codes,
            catalogue.sizes,
            out[:, COLUMNS[RETRIEVAL.name]],
        )
        out[:, _AT_STORE] = promoted.at_store(baskets.usual_store, rows)
        explores = self._histories(out, state, tables, candidates.groups, rows, baskets)
        own = {"own_mailer": state.mailer, "own_display": state.display}
        taken_up = np.array([own[name] for name in OWN]) / max(state.promotions, 1.0)
        same = np.array([*taken_up, *moment(baskets, now, explores)], np.float32)
        _fill_shared(rows, promoted.shares, shared.others, same, out)
        known = Known(state, now, catalogue, self.counts, candidates)
        for fill, columns in _FILLED:
            fill(known, out[:, columns])
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
        patterns(types, baskets, out[:, _TYPE_PATTERN])
        laid_out = self._over_the_catalogue(tables)
        out[:, COLUMNS["hazard"]] = laid_out.hazard(groups, rows)
        out[:, _FACTORS] = laid_out.affinity(groups, rows)
        out[:, _NEIGHBOURS] = laid_out.neighbours(groups, rows)
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
        """Return what is the same for all shoppers, made again when its sources changed."""
        catalogue, counts = self.catalogue, self.counts
        version = (catalogue.version, counts.changes)
        if self._made is None or version != self._version:
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
        for i in range(_SHARES_WIDTH):
            out[k, _SHARES + i] = shares[row, i]
        for i in range(_OWN_WIDTH):
            out[k, _OWN + i] = same[i]
        for i in range(_TRIAL_WIDTH):
            out[k, _TRIAL + i] = others[row, i]
        for i in range(_FAST_WIDTH):
            out[k, _FAST + i] = others[row, _TRIAL_WIDTH + i]
        for i in range(_MOMENT_WIDTH):
            out[k, _MOMENT + i] = same[_OWN_WIDTH + i]


@compiled
def _fill_types(
    groups: Groups, codes: NDArray[np.int32], rings: NDArray[np.uint64], rows: NDArray[np.int64],
    masks: NDArray[np.uint64],
    out: Floats,
) -> Any:  # fmt: skip
    """Fill in the products of each candidate's type that the shopper had, and `SUBSTITUTION`.

    The number of products is a logarithm. Returns the rings of the candidates, and of their types.
    """
    of_types = np.zeros(len(groups.type), np.uint64)
    products, sums = np.zeros(len(groups.type)), np.zeros((len(groups.type), DECAYS))
    for i in range(len(rings)):
        type_ = groups.type_at[codes[groups.rows[i], TYPE_CODE]]
        of_types[type_] |= rings[i]
        products[type_] += 1
        sums[type_, BY_28] += groups.decays[i + 1, BY_28]
        sums[type_, BY_112] += groups.decays[i + 1, BY_112]
    for type_ in range(len(products)):
        products[type_] = math.log1p(products[type_])
    mine, types = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    for k in range(len(rows)):
        item, type_ = groups.product_at[rows[k]], groups.type_at[codes[rows[k], TYPE_CODE]]
        types[k], out[k, _TYPE_PRODUCTS] = of_types[type_], products[type_]
        if item > 0:
            mine[k] = rings[item - 1]
            # baskets that held the type since the one that held the product
            bits, since = mine[k] & masks[EVERY], types[k] & masks[EVERY]
            newest = bits & (~bits + np.uint64(1))
            since, count = since & (newest - np.uint64(1)), 0
            while since != 0:
                since, count = since & (since - np.uint64(1)), count + 1
            out[k, _TYPE_SINCE] = math.log1p(count)
            out[k, _SHARE_28] = groups.decays[item, BY_28] / (sums[type_, BY_28] + 0.1)
            out[k, _SHARE_112] = groups.decays[item, BY_112] / (sums[type_, BY_112] + 0.1)
    return mine, types


@compiled
def _fill_retrieval(
    logits: Floats,
    rows: NDArray[np.int64],
    codes: NDArray[np.int32],
    sizes: NDArray[np.int64],
    out: Floats,
) -> None:
    """Fill in `RETRIEVAL`.

    That is retrieval's verdict, and the place that it gives a candidate among the others.
    """
    of_type, of_category, mass = (
        np.zeros(sizes[TYPE_CODE], np.int32),
        np.zeros(sizes[CATEGORY_CODE], np.int32),
        np.zeros(sizes[TYPE_CODE]),
    )
    order = descending(logits)
    for place in range(len(order)):
        k = order[place]
        type_, category = codes[rows[k], TYPE_CODE], codes[rows[k], CATEGORY_CODE]
        out[k, _LOGIT], out[k, _RANK] = logits[k], math.log1p(place)
        out[k, _RANK_IN_TYPE] = math.log1p(of_type[type_])
        out[k, _RANK_IN_CATEGORY] = math.log1p(of_category[category])
        of_type[type_] += 1
        of_category[category] += 1
        mass[type_] += 1 / (1 + math.exp(-np.float64(logits[k])))
    for k in range(len(rows)):
        # 0 where all are so unlikely that a number does not tell
        of_its_type = mass[codes[rows[k], TYPE_CODE]]
        share = 1 / (1 + math.exp(-np.float64(logits[k]))) / max(of_its_type, 1e-300)
        out[k, _SHARE_OF_TYPE], out[k, _TYPE_SUM] = share, math.log(of_its_type + 1e-6)


def _trial(numbers: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    """First purchases by a shopper, as `TRIAL`: how many try the product who did not have it."""
    p, log2 = popularity, np.log(2)
    week, month = numbers[:, p.FIRST_WEEK] * log2, numbers[:, p.FIRST_MONTH] * log2
    all_month, adopters = numbers[:, p.MONTH] * log2, numbers[:, p.BUYERS]
    type_month, type_all = _by_type(month, catalogue), _by_type(all_month, catalogue)
    named = {
        "first_week": np.log1p(week),
        "first_month": np.log1p(month),
        "growth": np.log((month + 0.5) / (adopters + 5)),
        "first_share": (month + 1) / (all_month + 3),
        "first_in_type": np.log((month + 0.1) / (type_month + 2)),
        "type_firsts": np.log1p(type_month),
        "type_first_share": (type_month + 1) / (type_all + 3),
        "buyers": np.log1p(adopters),
        "share_of_type_28": np.log((all_month + 0.1) / (type_all + 2)),
        "first_trend": np.log((week + 1) / (month / 4 + 1)),
    }
    return TRIAL.stack(named)


def _fast(numbers: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    """The last days, as `FAST`."""
    p, log2 = popularity, np.log(2)
    week, month = numbers[:, p.WEEK] * log2, numbers[:, p.MONTH] * log2
    type_week, type_month = _by_type(week, catalogue), _by_type(month, catalogue)
    named = {
        "day": np.log1p(numbers[:, p.ONE_DAY]),
        "three_days": np.log1p(numbers[:, p.THREE_DAYS]),
        "week_trend": np.log((week + 2) / (month / 4 + 2)),
        "type_trend": np.log((type_week + 5) / (type_month / 4 + 5)),
    }
    return FAST.stack(named)


def _by_type(values: NDArray[np.float64], catalogue: Catalogue) -> NDArray[np.float64]:
    return np.bincount(catalogue.type, values, len(catalogue.types)).astype(np.float64)[
        catalogue.type
    ]
