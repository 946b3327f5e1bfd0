"""`pprm worker` with a scorer that recommends the same to everybody: what is left is the machinery around the model.

Run by `benchmarks.scale.workers` as `python -m benchmarks.scale.stub`; all else is the worker as it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pprm.ranking import Ranking
from pprm.scorer import Scorer
from worker.app import run
from worker.settings import load


def recommend(self: Scorer, states: Sequence[Any], nows: Sequence[float], k: int, rules: Any = None) -> list[Ranking]:
    """The first products of the catalogue."""
    rows = np.arange(min(k, len(self.catalogue)))
    ranking = Ranking(rows, np.full(len(rows), 0.5, np.float32), [["popular"] for _ in rows])
    return [ranking] * len(states)


if __name__ == "__main__":
    Scorer.recommend = recommend  # type: ignore[method-assign, assignment]
    run(load())
