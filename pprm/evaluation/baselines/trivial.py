"""Recommendations without a model.

Each fits on a page: a model that does not beat them all is worth nothing.
"""

from collections.abc import Collection

import numpy as np

from pprm.catalogue.catalogue import Catalogue
from pprm.core.events import LOOKS
from pprm.data.dataset import Dataset
from pprm.evaluation.baselines import top_frequency
from pprm.evaluation.baselines.baseline import Baseline
from pprm.evaluation.baselines.last_looked import LastLooked
from pprm.evaluation.baselines.popularity import PopularityBaseline
from pprm.evaluation.baselines.top_frequency import WINDOWS


def contenders(
    dataset: Dataset, catalogue: Catalogue, validation: Collection[int]
) -> list[Baseline]:
    """Return all that make sense for a shop, ready to follow a replay.

    `validation` are the visits that tune them.
    """
    made: list[Baseline] = [PopularityBaseline(days) for days in WINDOWS]
    made.append(top_frequency.choose(dataset, catalogue.available, validation))
    if has_looks(dataset):
        made.append(LastLooked())
    for baseline in made:
        baseline.learn(dataset, catalogue, 0)  # they follow, and learn nothing
    return made


def has_looks(dataset: Dataset) -> bool:
    """Whether anybody looked at anything, as far as is known."""
    return dataset.kind is not None and bool(np.isin(dataset.kind, LOOKS).any())
