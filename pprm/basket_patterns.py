"""What the last 64 baskets of a shopper say of a product or a type, and of the shopper's rhythm.

All from one bit a basket and product (`user_state.COUNTERS_DTYPE`), and the times, stores and sizes of the baskets:
exact, bounded, and kept in O(1) an event. The bits of a type are those of its products together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.user_state import DAY, UserState

Floats = NDArray[np.float32]

PATTERN = (
    "in_last", "in_2nd_last", "in_3rd_last", "in_4th_last", "of_5", "of_10", "of_20", "same_weekday", "same_daypart",
    "same_store", "baskets_since", "due_in_baskets", "gap_variation", "gap_to_last_gap", "log_mean_gap", "repeated",
)  # fmt: skip
MOMENT = ("hour", "weekday", "since", "since_before", "last_size", "baskets_7", "baskets_28", "exploration")

_DAYPARTS = np.array([0.5, 0.71]) * DAY
"""Noon, and five in the evening."""


def _daypart(seconds: NDArray[Any]) -> NDArray[np.int64]:
    return np.searchsorted(_DAYPARTS, seconds, side="right")


@dataclass(frozen=True, slots=True)
class Baskets:
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
    def of(cls, state: UserState, now: float) -> "Baskets":
        """Those of a shopper at a Unix time."""
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


def pattern(rings: NDArray[np.uint64], baskets: Baskets) -> Floats:
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


def exploration(rings: NDArray[np.uint64], counts: NDArray[Any]) -> float:
    """Share of the products of the last five baskets that were never bought before them."""
    lately = np.bitwise_count(rings & np.uint64(0b11111))
    return float((lately == counts)[lately > 0].mean()) if lately.any() else 0.0


def moment(baskets: Baskets) -> NDArray[Any]:
    """The moment, and the shopper's rhythm, [7]."""
    ages, sizes = baskets.ages, baskets.sizes
    return np.array(
        [
            baskets.phase, baskets.weekday / 7,
            min(ages[0], 60) if len(ages) else 60, min(ages[1], 60) if len(ages) > 1 else 60,
            sizes[0] if len(sizes) else 0, (ages < 7).sum(), (ages < 28).sum(),
        ]
    )  # fmt: skip
