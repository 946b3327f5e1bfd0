"""Recommenders to compare PPRM with; each a `Baseline`, all fed by one replay.

The worker's demo counts popularity and frequencies with this package: scipy, implicit, LightGBM and torch are imported
only where a baseline that needs them learns.
"""

from collections.abc import Callable
from functools import partial

from pprm.baselines.als import Als
from pprm.baselines.baseline import Baseline
from pprm.baselines.bpr import Bpr
from pprm.baselines.item_knn import ItemKnn
from pprm.baselines.lightgbm_ranker import LightGbmRanker
from pprm.baselines.popularity import Popularity, Windows
from pprm.baselines.sasrec import SasRec
from pprm.baselines.tifu_knn import TifuKnn
from pprm.baselines.top_frequency import PersonalTopFrequency, TopFrequency

ALL: tuple[Callable[[], Baseline], ...] = (
    partial(Popularity, None),
    partial(Popularity, 28),
    partial(Popularity, 7),
    PersonalTopFrequency,
    TifuKnn,
    ItemKnn,
    Als,
    Bpr,
    SasRec,
    LightGbmRanker,
)
"""Each method as chosen by the validation month: the default settings. See `grid.GRIDS`."""

__all__ = ["ALL", "Baseline", "Popularity", "TopFrequency", "Windows"]
