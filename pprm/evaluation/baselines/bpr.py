"""Bayesian personalised ranking: factors that rank what was bought above what was not.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
feedback" (UAI 2009), by the library implicit. It has no fold-in: a shopper's factors are those of
the moment of learning.
"""

from dataclasses import dataclass, field

import numpy as np

from pprm.catalogue.catalogue import Catalogue
from pprm.core.arrays import Floats
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.baseline import purchases_before, single_thread


@dataclass(slots=True)
class Bpr:
    """Factors trained by stochastic gradient ascent.

    An iteration has as many samples as there are (shopper, product) pairs.
    """

    factors: int = 64
    learning_rate: float = 0.01
    regularisation: float = 0.1
    iterations: int = 100
    _users: Floats = field(init=False, repr=False)
    """[users, factors + 1]: the last is 1, ..."""
    _products: Floats = field(init=False, repr=False)
    """[products, factors + 1]: ... the product's bias."""

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return (
            f"BPR f{self.factors} lr{self.learning_rate:g}"
            f" reg{self.regularisation:g} it{self.iterations}"
        )

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Learn the factors of shoppers and available products."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking
        from scipy.sparse import csr_matrix

        bought = purchases_before(dataset, until)
        kept = catalogue.available[bought.product]
        shape = (len(dataset.users), len(catalogue))
        pairs = bought.user[kept], bought.product[kept]
        matrix = csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape)
        with single_thread():
            model = BayesianPersonalizedRanking(
                factors=self.factors, learning_rate=self.learning_rate,
                regularization=self.regularisation,
                iterations=self.iterations, num_threads=1, random_state=0,
            )  # fmt: skip
            model.fit(matrix, show_progress=False)
        self._users, self._products = model.user_factors.copy(), model.item_factors
        # also of shoppers who are new: they get the products' biases, which is popularity
        self._users[:, -1] = 1

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._users, self._products)

    def add(self, visit: Visit) -> None:
        """Nothing: the factors are frozen."""

    def scores(self, visit: Visit) -> Floats:
        """Dot products of factors."""
        dots: Floats = self._products @ self._users[visit.user]
        return dots
