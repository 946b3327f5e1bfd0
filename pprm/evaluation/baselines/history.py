"""Live purchase histories: how often each shopper bought each product, decayed by time."""

import numpy as np
from numpy.typing import NDArray

from pprm.state.user_state import DAY


class DecayedCounts:
    """A purchase counts 1, and half of it after each `half_life` days (inf: always 1)."""

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self._bought: dict[int, dict[int, tuple[float, float]]] = {}

    def add(self, user: int, products: NDArray[np.int32], now: float) -> None:
        """Count a basket."""
        mine = self._bought.setdefault(user, {})
        for product in products.tolist():
            count, at = mine.get(product, (0.0, now))
            mine[product] = count * 2 ** ((at - now) / DAY / self.half_life) + 1, now

    def of(self, user: int, now: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Products that a shopper bought and their counts as of `now`, [n] each."""
        mine = self._bought.get(user, {})
        counts, at = np.array([*mine.values()]).reshape(-1, 2).T
        return np.fromiter(mine, np.int64, len(mine)), counts * 2 ** (
            (at - now) / DAY / self.half_life
        )
