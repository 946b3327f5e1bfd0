"""ItemKNN: products that are bought together with what the shopper bought lately.

Deshpande, Karypis, "Item-based top-N recommendation algorithms" (2004), by the library implicit:
cosine similarity of products over households or over baskets, the nearest neighbours of each kept.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.baseline import purchases_before, single_thread
from pprm.evaluation.baselines.history import DecayedCounts


@dataclass(slots=True)
class ItemKnn:
    """Scores a product by its similarities to products bought, weighted with decayed counts."""

    over: Literal["households", "baskets"] = "baskets"
    """What two products must share to be similar."""
    half_life: float = 60.0
    """Days, of the live history; inf: no decay."""
    keeps_itself: bool = True
    """Whether a product is its own neighbour, which recommends what was bought before."""
    neighbours: int = 200
    _history: DecayedCounts = field(init=False, repr=False)
    _similarity: Any = field(init=False, repr=False)
    """CSR matrix, [products, products]: a row has the neighbours of a product."""

    @property
    def name(self) -> str:
        """See `Baseline`."""
        itself = ", itself too" if self.keeps_itself else ""
        return f"ItemKNN over {self.over}, half-life {self.half_life:g} d{itself}"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Compute the similarities of the available products; others have no neighbours."""
        from implicit.nearest_neighbours import ItemItemRecommender, normalize
        from scipy.sparse import csr_matrix

        self._history = DecayedCounts(self.half_life)
        bought = purchases_before(dataset, until)
        kept = catalogue.available[bought.product]
        holders = (bought.user if self.over == "households" else bought.basket)[kept]
        shape = (int(holders.max(initial=0)) + 1, len(catalogue))
        matrix = csr_matrix(
            (np.ones(len(holders), np.float32), (holders, bought.product[kept])), shape
        )
        matrix.data[:] = 1  # bought or not; the constructor has added up
        with single_thread():
            model = ItemItemRecommender(self.neighbours + 1, num_threads=1)
            # what its CosineRecommender does, but in the format that it then asks for
            model.fit(normalize(matrix.T).T.tocsr(), show_progress=False)
        self._similarity = (
            model.similarity if self.keeps_itself else _without_diagonal(model.similarity)
        )

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._similarity)

    def add(self, visit: Visit) -> None:
        """Count a basket."""
        self._history.add(visit.user, visit.products, visit.now)

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """Sums of similarities."""
        products, counts = self._history.of(visit.user, visit.now)
        sums: NDArray[np.float64] = self._similarity[products].T @ counts
        return sums


def _without_diagonal(matrix: Any) -> Any:
    matrix = matrix.tocoo()
    other = matrix.row != matrix.col
    return type(matrix)(
        (matrix.data[other], (matrix.row[other], matrix.col[other])), matrix.shape
    ).tocsr()
