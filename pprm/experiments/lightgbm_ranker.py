"""LightGBM on the features of PPRM's retrieval.

It shows how much of PPRM is its features, and how much is its network.

Ke et al., "LightGBM: a highly efficient gradient boosting decision tree" (NIPS 2017), binary
objective: ranking's experiments found it better than lambdarank.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.arrays import Floats
from pprm.data.dataset import Dataset, no_promotions
from pprm.data.replay import Visit
from pprm.retrieval import features
from pprm.state.user_state import DAY

PERIOD = 123
"""Days before the end that visits are learned from: July to October, as PPRM."""


@dataclass(slots=True)
class LightGbmRanker:
    """Trees on [cross features ; shopper's scalars] of the training set's candidates."""

    trees: int = 100
    leaves: int = 31
    learning_rate: float = 0.1
    visits: int = 10_000
    """Of which 80 candidates each."""
    seed: int = 0
    _model: Any = field(init=False, repr=False)
    _catalogue: Catalogue = field(init=False, repr=False)
    _popularity: Popularity = field(init=False, repr=False)
    _daily: tuple[int, Floats] = field(init=False, repr=False)
    """A day, and the popularity features of the available products on it."""

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return f"LightGBM {self.trees} trees x {self.leaves}, {self.visits} visits"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Replay the past for training rows, and grow the trees.

        The replay has no promotions: these features have none, and the catalogue stays as it is.
        """
        import lightgbm

        from pprm.data.visits import choose_visits
        from pprm.training import training_set

        self._catalogue, self._popularity, self._daily = (
            catalogue,
            Popularity(),
            (-1, np.zeros((0, len(features.POPULARITY)), np.float32)),
        )
        period = (until - PERIOD * int(DAY), until)
        unpromoted = replace(dataset, promotions=no_promotions)
        visits = choose_visits(dataset, catalogue, period, self.seed)[: self.visits]
        examples = training_set.build(unpromoted, catalogue, visits, until, self.seed)
        counted = examples.labels != training_set.IGNORED
        scalars = np.repeat(examples.scalars[:, None], examples.labels.shape[1], axis=1)
        inputs = np.concatenate([examples.cross[counted].astype(np.float32), scalars[counted]], 1)
        parameters = {
            "objective": "binary", "num_leaves": self.leaves, "learning_rate": self.learning_rate,
            "seed": self.seed,
            "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbose": -1,
        }  # fmt: skip
        self._model = lightgbm.train(
            parameters, lightgbm.Dataset(inputs, examples.labels[counted]), self.trees
        )

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return len(self._model.model_to_string())

    def add(self, visit: Visit) -> None:
        """Count a basket for the popularity; the shopper's own history is the visit's state."""
        hashes = self._catalogue.hashes[visit.products].tolist()
        self._popularity.advance(visit.now)
        self._popularity.add(Purchase(product, visit.now, False) for product in hashes)

    def scores(self, visit: Visit) -> Floats:
        """Log odds of the available products, -inf for the others."""
        rows = np.flatnonzero(self._catalogue.available)
        groups = features.groups(visit.before, self._catalogue, visit.now)
        cross = features.dense(groups, self._catalogue, rows, self._features(visit.now, rows))
        scalars = features.scalars(visit.before, visit.now)
        inputs = np.concatenate([cross, np.broadcast_to(scalars, (len(rows), len(scalars)))], 1)
        out = np.full(len(self._catalogue), -np.inf, np.float32)
        out[rows] = self._model.predict(inputs, raw_score=True)
        return out

    def _features(self, now: float, rows: NDArray[np.int64]) -> Floats:
        self._popularity.advance(now)
        if self._daily[0] != self._popularity.day:
            self._daily = (
                self._popularity.day,
                self._popularity.features(self._catalogue.hashes[rows]),
            )
        return self._daily[1]
