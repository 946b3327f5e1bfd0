"""Popularity: what sells, to everybody alike, until the very moment of the visit."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.state.user_state import DAY


@dataclass(slots=True)
class PopularityBaseline:
    """Purchases in the last `days` days, or (None) all of them, strictly before the visit.

    Nothing is learned.

    Whole days would leave out what sold since midnight: a weaker contender than a shop can have.
    """

    days: int | None = 7
    _counts: NDArray[np.float32] = field(init=False, repr=False)
    _waiting: deque[tuple[int, NDArray[np.int32]]] = field(init=False, repr=False)
    """Time and products of baskets that do not count yet: nobody asked for a later moment."""
    _counted: deque[tuple[int, NDArray[np.int32]]] = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return f"popularity {self.days} d" if self.days else "popularity, all time"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Begin with nothing sold."""
        self.begin(len(catalogue))

    def begin(self, products: int) -> None:
        """Begin with nothing sold of so many products."""
        self._counts = np.zeros(products, np.float32)
        self._waiting, self._counted = deque(), deque()

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._counts)

    def add(self, visit: Visit) -> None:
        """Count a basket for whoever comes later."""
        self.sold(visit.products, visit.now)

    def sold(self, products: NDArray[np.int32], now: int) -> None:
        """Count what was bought at a moment, never earlier than the one before."""
        self._waiting.append((now, products))

    def scores(self, visit: Visit) -> NDArray[np.float32]:
        """Purchases of each product in the window."""
        return self.at(visit.now).copy()

    def at(self, now: int) -> NDArray[np.float32]:
        """Return the purchases of each product in the window that ends now.

        These are the counts themselves, not to be written.
        """
        while self._waiting and self._waiting[0][0] < now:
            self._counted.append(self._waiting.popleft())
            np.add.at(self._counts, self._counted[-1][1], 1)
        while self.days and self._counted and self._counted[0][0] < now - self.days * DAY:
            np.subtract.at(self._counts, self._counted.popleft()[1], 1)
        return self._counts
