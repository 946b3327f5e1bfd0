"""The baselines that learn, of `pprm evaluate --models baselines`."""

from collections.abc import Callable

from pprm.evaluation.baselines.als import Als
from pprm.evaluation.baselines.baseline import Baseline
from pprm.evaluation.baselines.bpr import Bpr
from pprm.evaluation.baselines.item_knn import ItemKnn
from pprm.evaluation.baselines.sasrec import SasRec
from pprm.evaluation.baselines.tifu_knn import TifuKnn
from pprm.experiments.lightgbm_ranker import LightGbmRanker

ALL: tuple[Callable[[], Baseline], ...] = (
    TifuKnn,
    ItemKnn,
    Als,
    Bpr,
    SasRec,
    LightGbmRanker,
)
"""Each method that learns, with the default settings, which the groceries' validation chose.

See `grid.GRIDS`.
"""
