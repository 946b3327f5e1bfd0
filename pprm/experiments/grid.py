"""Tuning: the settings that are tried of each baseline, and the choice by the validation month."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation import list_metrics
from pprm.evaluation.baselines.als import Als
from pprm.evaluation.baselines.baseline import Baseline
from pprm.evaluation.baselines.bpr import Bpr
from pprm.evaluation.baselines.item_knn import ItemKnn
from pprm.evaluation.baselines.sasrec import SasRec
from pprm.evaluation.baselines.tifu_knn import TifuKnn
from pprm.experiments.lightgbm_ranker import LightGbmRanker
from pprm.serving import selection

Factory: TypeAlias = Callable[[], Baseline]
"""Makes a baseline that has not learned yet."""

GRIDS: Mapping[str, Sequence[Factory]] = {
    "TIFU-KNN": [
        partial(TifuKnn, groups=7, between=0.7, alpha=0.7),
        partial(TifuKnn, groups=7, between=0.7, alpha=0.9),
        partial(TifuKnn, groups=7, between=0.9, alpha=0.7),
        partial(TifuKnn, groups=14, between=0.8, alpha=0.9),
    ],
    "ItemKNN": [
        partial(ItemKnn, "households", inf, keeps_itself=False),
        partial(ItemKnn, "baskets", 28.0, keeps_itself=False),
        partial(ItemKnn, "baskets", 28.0, keeps_itself=True),
        partial(ItemKnn, "baskets", 60.0, keeps_itself=True),
        partial(ItemKnn, "baskets", 112.0, keeps_itself=True),
    ],
    "ALS": [
        partial(Als, factors=64, confidence=2.0, half_life=112.0),
        partial(Als, factors=64, confidence=2.0, half_life=60.0),
        partial(Als, factors=64, confidence=10.0, half_life=112.0),
        partial(Als, factors=128, confidence=2.0, half_life=112.0),
        partial(Als, factors=128, confidence=2.0, half_life=60.0),
    ],
    # rates from .02 with regularisation up to .01 were tried on the same month before: .02-.04
    "BPR": [
        partial(Bpr, learning_rate=0.01, regularisation=0.01, iterations=30),
        partial(Bpr, learning_rate=0.01, regularisation=0.1, iterations=30),
        partial(Bpr, learning_rate=0.01, regularisation=0.1, iterations=100),
        partial(Bpr, learning_rate=0.05, regularisation=0.1, iterations=30),
    ],
    "SASRec": [partial(SasRec, learning_rate=1e-3), partial(SasRec, learning_rate=3e-3)],
    "LightGBM": [partial(LightGbmRanker, learning_rate=0.1)],
}
"""Per method that learns; the others are tuned on each shop's own validation (`trivial`)."""


class Tried(NamedTuple):
    """A setting and what it got."""

    make: Factory
    name: str
    ndcg: float
    """NDCG@10 of all products, mean over the validation queries."""


def tune(
    grids: Mapping[str, Sequence[Factory]], dataset: Dataset, catalogue: Catalogue,
    visits: Iterable[Visit], queries: Collection[int], rows: NDArray[np.int64], until: int,
) -> dict[str, list[Tried]]:  # fmt: skip
    """Learn with every setting from before `until` and judge all of them in one replay.

    Args:
        grids: settings by method.
        dataset: what to learn from.
        catalogue: has the dataset's products in its rows.
        visits: in time order from the beginning of the data to the end of the validation month.
        queries: numbers of the validation visits.
        rows: the candidates, [N].
        until: Unix time of the end of learning, the beginning of the validation month.

    Returns:
        By method what was tried, the best first; of equal ones in the order of the grid.
    """
    factories = [(method, make) for method, grid in grids.items() for make in grid]
    baselines = [make() for _, make in factories]
    for baseline in baselines:
        baseline.learn(dataset, catalogue, until)
    tried: dict[str, list[Tried]] = {method: [] for method in grids}
    figures = validate(baselines, visits, queries, rows, len(catalogue))
    for (method, make), baseline, ndcg in zip(factories, baselines, figures, strict=True):
        tried[method].append(Tried(make, baseline.name, ndcg))
    return {
        method: sorted(settings, key=lambda one: -one.ndcg) for method, settings in tried.items()
    }


def validate(
    baselines: Sequence[Baseline], visits: Iterable[Visit], queries: Collection[int],
    rows: NDArray[np.int64], products: int,
) -> list[float]:  # fmt: skip
    """Mean NDCG@10 of baselines that have learned, in their order, over the queries."""
    column = np.full(products, -1)
    column[rows] = np.arange(len(rows))
    gains: list[list[float]] = []
    for visit in visits:
        if visit.number in queries:
            truth = set(column[visit.products].tolist()) - {-1}
            ranked = (selection.top(baseline.scores(visit)[rows]) for baseline in baselines)
            gains.append([list_metrics.ndcg(best, truth) for best in ranked])
        for baseline in baselines:
            baseline.add(visit)
    means: list[float] = np.mean(gains, axis=0).tolist()
    return means
