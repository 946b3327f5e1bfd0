"""How often each product was bought lately by anybody: decayed counters, the sum of all shoppers' own counters.

Scoring uses them as at the start of the event-time day: the same for every shopper and micro-batch of a day, and no
purchase of today can look ahead into a list of today.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pprm.user_state import DAY, UserState

HALF_LIVES = (7.0, 28.0)
"""Days; a part of `user_state.HALF_LIVES`, so that the states add up to these counters."""


class Popularity:
    """Counters per product hash as of the start of `day` (days since 1970). One thread owns it."""

    def __init__(self) -> None:
        self.day = 0
        self.changes = 0
        """Counts what `features` may have changed by: a new day, states added."""
        self._rows: dict[int, int] = {}
        self._counters = np.zeros((1024, 1 + len(HALF_LIVES)))
        self._today: list[tuple[int, int]] = []

    def add(self, purchases: Iterable[tuple[int, int]]) -> None:
        """Count purchases (product hash, Unix seconds); those of the current day and later wait for the next."""
        for product, time in purchases:
            if time >= self.day * DAY:
                self._today.append((product, time))
            else:
                self._count(product, time)

    def add_state(self, state: UserState) -> None:
        """Count all that a shopper bought; of the current day too, which a state cannot tell apart."""
        counters = state.product_counters()
        if not len(counters):
            return
        self.changes += 1
        self.advance(float(counters["last"].max()))  # from day 0 the decay of 47 years backwards would overflow
        rows = [self._row(product) for product in state.product_keys().tolist()]
        age = self.day - counters["last"] / DAY
        self._counters[rows, 0] += counters["count"]
        for column, half_life in enumerate(HALF_LIVES, start=1):
            self._counters[rows, column] += counters[f"decay{half_life:.0f}"] * 2.0 ** (-age / half_life)

    def clear(self) -> None:
        """Forget everything but the day."""
        self.changes += 1
        self._counters[:] = 0
        self._today.clear()

    def advance(self, now: float) -> bool:
        """Move on to the day of this Unix time; False where it is not later than the current one."""
        day = int(now // DAY)
        if day <= self.day:
            return False
        for column, half_life in enumerate(HALF_LIVES, start=1):
            self._counters[:, column] *= 2.0 ** (-(day - self.day) / half_life)
        self.day = day
        self.changes += 1
        waiting, self._today = self._today, []
        self.add(waiting)
        return True

    def features(self, products: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Per product [n, 4]: popularity of about a week, about a month, all time, and the trend, each about 0 to 1."""
        get = self._rows.get
        rows = np.fromiter((get(product, -1) for product in products.tolist()), np.int64, len(products))
        counters = np.where(rows[:, None] >= 0, self._counters[rows], 0.0)
        # A counter with half-life h stands at rate * h / ln 2: times ln 2 it is comparable with a window of h days.
        week, month = counters[:, 1] * np.log(2), counters[:, 2] * np.log(2)
        trend = np.log((week + 2) / (month / 4 + 2))
        columns = (np.log1p(week) / 4, np.log1p(month) / 4, np.log1p(counters[:, 0]) / 6, trend)
        return np.stack(columns, axis=1).astype(np.float32)

    def _count(self, product: int, time: float) -> None:
        row, age = self._row(product), self.day - time / DAY
        self._counters[row] += (1.0, *(2.0 ** (-age / half_life) for half_life in HALF_LIVES))

    def _row(self, product: int) -> int:
        row = self._rows.setdefault(product, len(self._rows))
        if row >= len(self._counters):
            self._counters = np.concatenate([self._counters, np.zeros_like(self._counters)])
        return row
