"""Which baskets are learned from, and shoppers as if less was known of them."""

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.events import Interaction, Kind, Position
from pprm.data.dataset import Dataset
from pprm.state.fold import fold
from pprm.state.user_state import UserState


def choose_visits(
    dataset: Dataset, catalogue: Catalogue, period: tuple[int, int], seed: int
) -> NDArray[np.int64]:
    """Return the baskets of a period that hold a candidate, by number, in random order.

    The period is in Unix seconds, from and until.
    """
    return np.random.default_rng(seed).permutation(baskets(dataset, catalogue.available, period))


def baskets(
    dataset: Dataset, available: NDArray[np.bool_], period: tuple[int, int]
) -> NDArray[np.int64]:
    """Numbers of the baskets of a period that hold an available product, in time order."""
    first = dataset.visits()
    has_candidate = np.add.reduceat(available[dataset.product], first[:-1]) > 0
    start = dataset.time[first[:-1]]
    inside = (start >= period[0]) & (start < period[1])
    return np.flatnonzero(has_candidate & dataset.is_basket() & inside)


def young(state: UserState, purchases: int) -> UserState:
    """Cut the shopper's history to the last so many purchases.

    Purchases of one time are a basket.
    """
    kept = state.interactions()[-purchases:] if purchases else state.interactions()[:0]
    events = [
        Interaction(Position(0, 0, i), Kind(int(e["kind"])), int(e["product"]), int(e["time"]))
        for i, e in enumerate(kept)
    ]
    young = fold(UserState(), events).state
    young.text = state.text
    return young
