"""Collaborative factors: alternating least squares over shoppers and products.

Live shoppers are folded in.

Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets" (2008), by the library
implicit. Only the products' factors are kept; a shopper's are made from the counters of the state
whenever a list is made, with one system of equations for all shoppers: the exact one, whose matrix
is the shopper's own, costs ten times as much.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats

FACTORS = 64
REGULARISATION = 20.0
CONFIDENCE = 2.0
ITERATIONS = 10
HALF_LIFE = 112.0
"""Days: the counter of the state that stands for the strength of a preference."""


@dataclass(frozen=True, slots=True)
class Factors:
    """Of products, [products, FACTORS]; 0 where a product was not there."""

    product: Floats
    _inverse: Floats = field(init=False)

    def __post_init__(self) -> None:
        known = self.product[self.product[:, 0] != 0]  # a fraction of a large catalogue
        gram = known.T @ known + REGULARISATION * np.eye(self.product.shape[1], dtype=np.float32)
        object.__setattr__(self, "_inverse", np.linalg.inv(gram))

    def fold_in(self, products: NDArray[np.int64], counts: NDArray[np.float64]) -> Floats:
        """A shopper's factors, [FACTORS], from products bought and their decayed counts."""
        confidence = (CONFIDENCE * np.log1p(2.0 * counts)).astype(np.float32)
        shopper: Floats = self._inverse @ (confidence @ self.product[products])
        return shopper


def fit(
    user: NDArray[np.int32], product: NDArray[np.int32], days: NDArray[np.float64], products: int
) -> Factors:
    """Learn from purchases [events]: `days` before the end of the period."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    shape = (int(user.max(initial=0)) + 1, products)
    counts = csr_matrix((2.0 ** (-days / HALF_LIFE), (user, product)), shape, dtype=np.float32)
    counts.data = np.log1p(2.0 * counts.data)
    # the same factors on every machine; implicit warns of anything else
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=FACTORS, regularization=REGULARISATION, alpha=CONFIDENCE, iterations=ITERATIONS,
            num_threads=1,
            random_state=0,
        )  # fmt: skip
        model.fit(counts, show_progress=False)
    return Factors(np.asarray(model.item_factors, np.float32))
