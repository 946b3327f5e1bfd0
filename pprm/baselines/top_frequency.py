"""Personal top frequency: what a shopper buys most, recent purchases first; popularity fills up."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.baselines.history import DecayedCounts
from pprm.baselines.popularity import Popularity
from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.replay import Visit

TOP_FREQUENCY_DAYS = 60.0
"""Half-life of a personal purchase where none is given."""
POPULARITY_DAYS = 28


class TopFrequency(DecayedCounts):
    """How often a shopper bought each product, decayed; popularity fills up where they bought nothing."""

    def __init__(self, half_life: float = TOP_FREQUENCY_DAYS) -> None:
        super().__init__(half_life)

    def scores(self, user: int, now: float, popularity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score of each product, [products]: any purchase of their own counts more than all popularity."""
        out: NDArray[np.float64] = popularity.astype(np.float64) / (float(popularity.max()) + 1.0) * 1e-6
        products, counts = self.of(user, now)
        out[products] += counts
        return out


@dataclass(slots=True)
class PersonalTopFrequency:
    """`TopFrequency` with popularity of 28 days; learns nothing. `half_life` in days, inf: no decay."""

    half_life: float = 112.0
    _frequency: TopFrequency = field(init=False, repr=False)
    _popularity: Popularity = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return f"personal top frequency, half-life {self.half_life:g} d"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Begin with nothing bought."""
        self._frequency, self._popularity = TopFrequency(self.half_life), Popularity(POPULARITY_DAYS)
        self._popularity.learn(dataset, catalogue, until)

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return self._popularity.learned_bytes()

    def add(self, visit: Visit) -> None:
        """Count a basket."""
        self._frequency.add(visit.user, visit.products, visit.now)
        self._popularity.add(visit)

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """Decayed counts, and far below them popularity."""
        return self._frequency.scores(visit.user, visit.now, self._popularity.scores(visit))
