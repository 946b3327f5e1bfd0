"""TIFU-KNN: decayed purchase frequencies, blended with those of the nearest shoppers.

Hu, He, Gao, Zhang, "Modeling personalized item frequency information for next-basket
recommendation" (SIGIR 2020). The shopper's own vector is live; the neighbours' vectors are those of
the moment of learning. Purchases decay in two steps, within groups of baskets and between them.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.baseline import Purchases, purchases_before


@dataclass(slots=True)
class TifuKnn:
    """TIFU-KNN with its settings; each names the letter that the paper has for it."""

    groups: int = 7
    """Groups of consecutive baskets, m."""
    within: float = 0.9
    """What a basket keeps of its weight for each later one of its group, r_b."""
    between: float = 0.7
    """What a group keeps for each later one, r_g."""
    alpha: float = 0.7
    """Weight of the shopper's own vector; the neighbours' mean has the rest."""
    neighbours: int = 300
    """k; by Euclidean distance."""
    _baskets: dict[int, list[NDArray[np.int32]]] = field(init=False, repr=False)
    _vectors: Any = field(init=False, repr=False)
    """CSR matrix, [users, products]."""
    _squares: NDArray[np.float64] = field(init=False, repr=False)
    """Squared lengths, [users]; inf for shoppers without purchases, who are nobody's neighbours."""

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return (
            f"TIFU-KNN m{self.groups} rb{self.within}"
            f" rg{self.between} a{self.alpha} k{self.neighbours}"
        )

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Compute everybody's vector as of `until`."""
        self._baskets = defaultdict(list)
        self._vectors = self._matrix(
            purchases_before(dataset, until), (len(dataset.users), len(catalogue))
        )
        squares = np.asarray(self._vectors.multiply(self._vectors).sum(1), np.float64).reshape(-1)
        self._squares = np.where(squares > 0, squares, np.inf)

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._vectors, self._squares)

    def add(self, visit: Visit) -> None:
        """Append a basket to the shopper's."""
        self._baskets[visit.user].append(visit.products)

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """The blend of the shopper's vector and the neighbours' mean."""
        own = np.zeros(self._vectors.shape[1])
        np.add.at(own, *self._vector(self._baskets[visit.user]))
        return self.alpha * own + (1 - self.alpha) * self._neighbourhood(visit.user, own)

    def _vector(
        self, baskets: Sequence[NDArray[np.int32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Products with their weights, to be summed per product."""
        if not baskets:
            return np.zeros(0, np.int64), np.zeros(0)
        weights = basket_weights(len(baskets), self.groups, self.within, self.between)
        return np.concatenate(baskets).astype(np.int64), np.repeat(
            weights, [len(basket) for basket in baskets]
        )

    def _matrix(self, bought: Purchases, shape: tuple[int, int]) -> Any:
        # here: the worker, which counts frequencies, does without it
        from scipy.sparse import csr_matrix

        baskets: dict[int, list[NDArray[np.int32]]] = defaultdict(list)
        cuts = np.flatnonzero(np.diff(bought.basket)) + 1
        for user, basket in zip(
            bought.user[np.r_[0, cuts]].tolist(), np.split(bought.product, cuts), strict=True
        ):
            baskets[user].append(basket)
        vectors = [self._vector(mine) for mine in baskets.values()]
        users = np.repeat([*baskets], [len(products) for products, _ in vectors])
        products, weights = (np.concatenate(column) for column in zip(*vectors, strict=True))
        return csr_matrix((weights, (users, products)), shape)

    def _neighbourhood(self, user: int, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean vector of the nearest other shoppers, [products]."""
        # squared, less the same |own|^2 for all
        distance = self._squares - 2 * (self._vectors @ own)
        distance[user] = np.inf
        k = min(self.neighbours, int(np.isfinite(distance).sum()))
        share = np.zeros(len(distance))
        share[np.argsort(distance, kind="stable")[:k]] = 1 / max(k, 1)
        mean: NDArray[np.float64] = self._vectors.T @ share
        return mean


def basket_weights(baskets: int, groups: int, within: float, between: float) -> NDArray[np.float64]:
    """Weight of each of a shopper's baskets, oldest first, [baskets].

    A group's vector is the mean of its decayed baskets, the shopper's is the mean of the decayed
    groups. Where the baskets cannot be shared out evenly the last groups have one more, as in the
    authors' code.
    """
    groups = min(groups, baskets)
    size, larger = divmod(baskets, groups)
    sizes = np.repeat([size, size + 1], [groups - larger, larger])
    group = np.repeat(np.arange(groups), sizes)
    later = np.cumsum(sizes)[group] - 1 - np.arange(baskets)
    weights: NDArray[np.float64] = (
        within**later / sizes[group] * between ** (groups - 1.0 - group) / groups
    )
    return weights
