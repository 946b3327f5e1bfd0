"""What the last 64 baskets tell of a product or a type, and of the shopper's rhythm.

All is made from one bit a basket and product (`user_state.COUNTERS_DTYPE`), and the times, stores
and sizes of the baskets: exact, bounded, and kept in O(1) an event. The bits of a type are those of
its products together. Questions about the baskets are masks of bits: those of this weekday, for
instance.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part
from pprm.core.feature_groups import FeatureGroup
from pprm.state.user_state import DAY, MAX_BASKETS, UserState

Rings = NDArray[np.uint64]

LAST = ("in_last", "in_2nd_last", "in_3rd_last", "in_4th_last")
PATTERN = FeatureGroup(
    "pattern",
    (
        *LAST, "of_5", "of_10", "of_20", "same_weekday", "same_daypart", "same_store",
        "baskets_since", "due_in_baskets", "gap_variation", "gap_to_last_gap", "log_mean_gap",
        "repeated",
    ),
)  # fmt: skip
MOMENT = FeatureGroup(
    "moment",
    (
        "hour", "weekday", "since", "since_before", "last_size", "baskets_7", "baskets_28",
        "exploration",
    ),
)  # fmt: skip
_IN_LAST, _LASTS = PATTERN.run(LAST).start, len(LAST)
_OF_5, _OF_10, _OF_20 = PATTERN.at("of_5", "of_10", "of_20")
_WEEKDAY, _DAYPART, _STORE = PATTERN.at("same_weekday", "same_daypart", "same_store")
_SINCE, _DUE, _VARIATION = PATTERN.at("baskets_since", "due_in_baskets", "gap_variation")
_TO_LAST_GAP, _MEAN_GAP, _REPEATED = PATTERN.at("gap_to_last_gap", "log_mean_gap", "repeated")

NOON, EVENING = 0.5, 0.71
"""Parts of the day begin there."""
USUAL = 10
"""Baskets whose most frequent store is the usual one."""

ONE = np.uint64(1)
MASKS = 4
EVERY, ON_WEEKDAY, IN_DAYPART, AT_USUAL_STORE = range(MASKS)
"""Places of `Baskets.masks`."""


class Baskets(NamedTuple):
    """The shopper's last baskets, newest first, B of them, as of a moment.

    Bit b of a mask is basket b.
    """

    ages: NDArray[np.float64]
    """Days, [B]."""
    newest_size: int
    """Products in the newest one, 0 where there is none."""
    masks: Rings
    """Masks, [4]: all; on the moment's weekday; in its part of the day; at the usual store."""
    usual_store: int
    """The most frequent store of the last 10 baskets, of several the lowest; 0: unknown."""

    @classmethod
    def of(cls, state: UserState, now: float) -> "Baskets":
        """Those of a shopper at a Unix time."""
        return cls(*_baskets(state.recent_baskets(), float(now)))


@compiled
def _baskets(visits: NDArray[Any], now: float) -> Any:
    n, day = len(visits), np.int64(now // DAY)
    ages, size = np.empty(n), np.int64(0)
    usual = _usual_store(visits)
    masks = np.zeros(MASKS, np.uint64)
    for b in range(n):
        visit, bit = visits[n - 1 - b], ONE << np.uint64(b)
        time = np.int64(visit.time)
        ages[b] = max(now - time, 0.0) / DAY
        if b == 0:
            size = np.int64(visit.size)
        masks[EVERY] |= bit
        if (time // np.int64(DAY) - day) % 7 == 0:
            masks[ON_WEEKDAY] |= bit
        if _daypart(time % DAY / DAY) == _daypart(now % DAY / DAY):
            masks[IN_DAYPART] |= bit
        if np.int64(visit.store) == usual:
            masks[AT_USUAL_STORE] |= bit
    return ages, size, masks, usual


@part
def _daypart(phase: float) -> int:
    return (phase >= NOON) + (phase >= EVENING)


@part
def _usual_store(visits: NDArray[Any]) -> Any:
    best, most = np.int64(0), 0
    first = max(len(visits) - USUAL, 0)
    for i in range(first, len(visits)):
        store, count = np.int64(visits[i].store), 0
        for j in range(first, len(visits)):
            count += np.int64(visits[j].store) == store
        if store > 0 and (count > most or (count == most and store < best)):
            best, most = store, count
    return best


@part
def _count(bits: np.uint64) -> Any:
    """Count the bits that are set (Hacker's Delight, 5-1)."""
    bits = bits - ((bits >> ONE) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + (
        (bits >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@part
def _lowest(bits: np.uint64) -> Any:
    """Place of the lowest bit that is set."""
    return _count((bits & (~bits + ONE)) - ONE)


def patterns(rings: Rings, baskets: Baskets, out: Floats) -> None:
    """Fill `out` [n, len(PATTERN)], all 0, for rings [n] aligned with the newest basket."""
    _patterns(rings, baskets, out)


@compiled
def _patterns(rings: Rings, baskets: Baskets, out: Floats) -> None:
    for i in range(len(rings)):
        bits = rings[i] & baskets.masks[EVERY]
        if bits != 0:
            _fill(bits, baskets, out[i])


@part
def _fill(bits: np.uint64, baskets: Baskets, out: Floats) -> None:
    times, newest = _count(bits), _lowest(bits)
    for place in range(_LASTS):
        out[_IN_LAST + place] = (bits >> np.uint64(place)) & ONE
    out[_OF_5], out[_OF_10] = _count(bits & np.uint64(0x1F)), _count(bits & np.uint64(0x3FF))
    out[_OF_20] = _count(bits & np.uint64(0xFFFFF))
    out[_WEEKDAY] = (_count(bits & baskets.masks[ON_WEEKDAY]) + 0.3) / (times + 2)
    out[_DAYPART] = (_count(bits & baskets.masks[IN_DAYPART]) + 0.6) / (times + 2)
    out[_STORE] = _count(bits & baskets.masks[AT_USUAL_STORE]) / times
    out[_SINCE] = math.log1p(newest)
    if times < 2:
        return
    oldest, last_gap, squares, rest = newest, 0.0, 0.0, bits & (bits - ONE)
    while rest != 0:
        place = _lowest(rest)
        gap = baskets.ages[place] - baskets.ages[oldest]
        if oldest == newest:
            last_gap = gap
        squares, oldest, rest = squares + gap * gap, place, rest & (rest - ONE)
    intervals = times - 1
    mean = max((baskets.ages[oldest] - baskets.ages[newest]) / intervals, 0.3)
    out[_DUE] = min((newest + 1) / max((oldest - newest) / intervals, 1.0), 5.0)
    out[_VARIATION] = min(math.sqrt(max(squares / intervals - mean * mean, 0.0)) / mean, 5.0)
    out[_TO_LAST_GAP] = min(baskets.ages[newest] / max(last_gap, 0.5), 6.0)
    out[_MEAN_GAP], out[_REPEATED] = math.log(mean), 1


def rings(counters: NDArray[Any], places: NDArray[np.int64], baskets: int) -> tuple[Rings, float]:
    """Align the rings of the counters at `places` with the newest basket.

    Also returns how much the shopper explores: the share of the products of the last five baskets
    that were never bought before them.
    """
    return _rings(counters, places, baskets)  # type: ignore[no-any-return]


@compiled
def _rings(counters: NDArray[Any], places: NDArray[np.int64], baskets: int) -> Any:
    out, lately, new = np.zeros(len(places), np.uint64), 0, 0
    for i in range(len(places)):
        counter = counters[places[i]]
        ago = baskets - np.int64(counter.basket)
        if ago < MAX_BASKETS:
            out[i] = counter.ring << np.uint64(ago)
        times = _count(out[i] & np.uint64(0x1F))
        lately += times > 0
        new += times > 0 and times == counter.count
    return out, new / max(lately, 1)


def moment(baskets: Baskets, now: float, explores: float) -> list[float]:
    """The moment, and the shopper's rhythm, as `MOMENT`; `explores` is what `rings` says."""
    ages = baskets.ages
    named = {
        "hour": now % DAY / DAY,
        "weekday": int(now // DAY) % 7 / 7,
        "since": min(ages[0], 60) if len(ages) else 60,
        "since_before": min(ages[1], 60) if len(ages) > 1 else 60,
        "last_size": baskets.newest_size,
        "baskets_7": float((ages < 7).sum()),
        "baskets_28": float((ages < 28).sum()),
        "exploration": explores,
    }
    return [named[name] for name in MOMENT]
