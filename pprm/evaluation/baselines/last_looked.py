"""What the shopper looked at or put into the cart last; popularity fills up."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.popularity import PopularityBaseline


@dataclass(slots=True)
class LastLooked:
    """The newest look first, as the shopper's state knows them; learns nothing."""

    name: str = "looked at last"
    _catalogue: Catalogue = field(init=False, repr=False)
    _popularity: PopularityBaseline = field(init=False, repr=False)

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Begin with nothing sold."""
        self._catalogue, self._popularity = catalogue, PopularityBaseline(7)
        self._popularity.begin(len(catalogue))

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return self._popularity.learned_bytes()

    def add(self, visit: Visit) -> None:
        """Count a basket for the popularity: the looks are in the visit's state."""
        self._popularity.add(visit)

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """Times of the last looks, Unix seconds, and far below them popularity."""
        popularity = self._popularity.at(visit.now)
        out = popularity.astype(np.float64) / (float(popularity.max(initial=0)) + 1)
        keys, looks = visit.before.looked_at()
        rows = self._catalogue.rows(keys)
        out[rows[rows >= 0]] += looks["last"][rows >= 0]
        return out
