"""Popularity: what sells, to everybody alike, in windows of whole days."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.replay import Visit
from pprm.sizes import nbytes
from pprm.user_state import DAY


class Windows:
    """Purchases per product in the days before a day: popularity by exact windows, [products]."""

    def __init__(self, products: NDArray[np.int32], times: NDArray[np.int64], count: int) -> None:
        self._first = int(times[0] // DAY)
        days = times // int(DAY) - self._first
        self._sums = np.zeros((int(days[-1]) + 2, count), np.float32)
        np.add.at(self._sums, (days + 1, products), 1)
        np.cumsum(self._sums, axis=0, out=self._sums)

    def before(self, now: float, days: int) -> NDArray[np.float32]:
        """Purchases of each product in so many days strictly before the day of `now`."""
        end = int(np.clip(now // DAY - self._first, 0, len(self._sums) - 1))
        counts: NDArray[np.float32] = self._sums[end] - self._sums[max(end - days, 0)]
        return counts


@dataclass(slots=True)
class Popularity:
    """Purchases in the last `days` days before the day of the visit, or (None) in all of them; learns nothing."""

    days: int | None = 7
    _counts: NDArray[np.float32] = field(init=False, repr=False)
    _waiting: deque[tuple[int, NDArray[np.int32]]] = field(init=False, repr=False)
    """Day and products of baskets that do not count yet: their day is not over."""
    _counted: deque[tuple[int, NDArray[np.int32]]] = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return f"popularity {self.days} d" if self.days else "popularity, all time"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Begin with nothing sold."""
        self._counts = np.zeros(len(catalogue), np.float32)
        self._waiting, self._counted = deque(), deque()

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._counts)

    def add(self, visit: Visit) -> None:
        """Count a basket from the next day on."""
        self._waiting.append((int(visit.now // DAY), visit.products))

    def scores(self, visit: Visit) -> NDArray[np.float32]:
        """Purchases of each product in the window."""
        self._advance(int(visit.now // DAY))
        return self._counts.copy()

    def _advance(self, today: int) -> None:
        while self._waiting and self._waiting[0][0] < today:
            self._counted.append(self._waiting.popleft())
            np.add.at(self._counts, self._counted[-1][1], 1)
        while self.days and self._counted and self._counted[0][0] < today - self.days:
            np.subtract.at(self._counts, self._counted.popleft()[1], 1)
