"""Matrix factorisation by alternating least squares, with the live shopper folded in.

Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), by the
library implicit. `pprm.ranking.factors` is the same at one setting, without the library at hand;
here the settings vary.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.baseline import purchases_before, single_thread
from pprm.evaluation.baselines.history import DecayedCounts
from pprm.state.user_state import DAY

ITERATIONS = 10


@dataclass(slots=True)
class Als:
    """Strength of a preference: log(1 + 2 x decayed count), times `confidence`."""

    factors: int = 128
    regularisation: float = 20.0
    confidence: float = 2.0
    half_life: float = 60.0
    """Days, of a purchase, in learning and live."""
    _history: DecayedCounts = field(init=False, repr=False)
    _model: Any = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return (
            f"ALS f{self.factors} reg{self.regularisation:g}"
            f" conf{self.confidence:g} hl{self.half_life:g}"
        )

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Learn the products' factors."""
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix

        self._history = DecayedCounts(self.half_life)
        bought = purchases_before(dataset, until)
        weights = 2.0 ** ((bought.time - until) / DAY / self.half_life)
        shape = (len(dataset.users), len(catalogue))
        counts = csr_matrix((weights, (bought.user, bought.product)), shape, dtype=np.float32)
        counts.data = np.log1p(2.0 * counts.data)
        with single_thread():
            self._model = AlternatingLeastSquares(
                factors=self.factors, regularization=self.regularisation, alpha=self.confidence,
                iterations=ITERATIONS,
                num_threads=1, random_state=0,
            )  # fmt: skip
            self._model.fit(counts, show_progress=False)

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._model.item_factors)

    def add(self, visit: Visit) -> None:
        """Count a basket."""
        self._history.add(visit.user, visit.products, visit.now)

    def scores(self, visit: Visit) -> NDArray[np.float32]:
        """Dot products with the factors that solve the shopper's own least squares now."""
        from scipy.sparse import csr_matrix

        products, counts = self._history.of(visit.user, visit.now)
        strengths = np.log1p(2.0 * counts).astype(np.float32)
        shape = (1, len(self._model.item_factors))
        row = csr_matrix((strengths, products, np.array([0, len(products)])), shape)
        solved = self._model.recalculate_user(0, row)
        dots: NDArray[np.float32] = self._model.item_factors @ solved
        return dots
