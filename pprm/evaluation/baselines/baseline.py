"""What a baseline is.

It learns from the past, follows the visits as they happen, and scores the whole catalogue.
"""

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit


class Baseline(Protocol):
    """A recommender to compare with.

    The catalogue's rows are the dataset's products. Order of the calls: `learn` once, then for each
    visit in time order, from the beginning of the data, `scores` where the visit is judged and
    `add`.
    """

    @property
    def name(self) -> str:
        """Method and setting, as a table shows it."""

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Learn parameters from the purchases before a Unix time, and begin the live state anew."""

    def learned_bytes(self) -> int:
        """Bytes of what was learned over all shoppers, as it is held."""

    def add(self, visit: Visit) -> None:
        """Take a visit into the live state."""

    def scores(self, visit: Visit) -> NDArray[np.floating]:
        """Score all rows of the catalogue for the visit's shopper, [len(catalogue)].

        Only what was before the visit counts. Rows that are not available may have any score, -inf
        too.
        """


class Purchases(NamedTuple):
    """Purchases in time order, those of a basket together.

    The columns are the dataset's, [purchases] each.
    """

    user: NDArray[np.int32]
    product: NDArray[np.int32]
    basket: NDArray[np.int32]
    time: NDArray[np.int64]


def purchases_before(dataset: Dataset, until: int) -> Purchases:
    """Purchases of a dataset before a Unix time."""
    bought = dataset.purchases() & (dataset.time < until)
    return Purchases(
        dataset.user[bought], dataset.product[bought], dataset.basket[bought], dataset.time[bought]
    )


def single_thread() -> AbstractContextManager[object]:
    """Keep BLAS and OpenMP to one thread.

    So parameters are the same on every machine; implicit warns otherwise.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
