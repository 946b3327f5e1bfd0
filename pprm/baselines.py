"""What a shop would do without a model: what sells, and what the shopper buys most."""

import numpy as np
from numpy.typing import NDArray

from pprm.user_state import DAY

TOP_FREQUENCY_DAYS = 60.0
"""Half-life of a personal purchase; the best of those tried on the validation month."""


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


class TopFrequency:
    """How often a shopper bought each product, decayed; popularity fills up where they bought nothing."""

    def __init__(self) -> None:
        self._bought: dict[int, dict[int, tuple[float, float]]] = {}

    def add(self, user: int, products: NDArray[np.int32], now: float) -> None:
        """Count a basket."""
        mine = self._bought.setdefault(user, {})
        for product in products.tolist():
            count, at = mine.get(product, (0.0, now))
            mine[product] = count * 2 ** ((at - now) / DAY / TOP_FREQUENCY_DAYS) + 1, now

    def scores(self, user: int, now: float, popularity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score of each product, [products]: any purchase of their own counts more than all popularity."""
        out: NDArray[np.float64] = popularity.astype(np.float64) / (float(popularity.max()) + 1.0) * 1e-6
        mine = self._bought.get(user, {})
        products = np.fromiter(mine, np.int64, len(mine))
        counts = np.array([count * 2 ** ((at - now) / DAY / TOP_FREQUENCY_DAYS) for count, at in mine.values()])
        out[products] += counts
        return out
