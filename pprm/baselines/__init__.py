"""Recommenders to compare PPRM with; each a `Baseline`, all fed by one replay.

The worker's demo counts popularity and frequencies with this package: scipy, implicit, LightGBM and torch are imported
only where a baseline that needs them learns.
"""

from collections.abc import Callable

from pprm.baselines.als import Als
from pprm.baselines.baseline import Baseline
from pprm.baselines.bpr import Bpr
from pprm.baselines.item_knn import ItemKnn
from pprm.baselines.lightgbm_ranker import LightGbmRanker
from pprm.baselines.popularity import Popularity
from pprm.baselines.sasrec import SasRec
from pprm.baselines.tifu_knn import TifuKnn

ALL: tuple[Callable[[], Baseline], ...] = (
    TifuKnn,
    ItemKnn,
    Als,
    Bpr,
    SasRec,
    LightGbmRanker,
)
"""Each method that learns, as chosen by the validation of the groceries: the default settings. See `grid.GRIDS`."""

__all__ = ["ALL", "Baseline", "Popularity"]
