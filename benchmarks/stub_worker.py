"""The real worker with a recommender that gives everybody the same list at once.

This measures all that is not the model.

`python -m benchmarks.stub_worker [--counting]` in place of `pprm worker`; settings come from the
environment. With `--counting` the artifact is loaded and popularity counted as ever, and only the
ranking is left out.
"""

import sys
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.stream.job import HASHES, ITEMS, MODEL
from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.serving.rules import NO_RULES, Rules
from pprm.serving.scorer import Scorer
from pprm.serving.selection import Ranking
from pprm.state.fold import Counted
from worker import app
from worker.pipeline import recommender
from worker.pipeline.recommender import Ranked, Recommender, Request
from worker.settings import Model, load

COUNTING = "--counting"
DIMENSIONS = 8
"""Of the product texts' vectors, which nobody reads."""


def load_stub(_: Model, k: int, rules: Rules = NO_RULES, tell: Any = None) -> Recommender:
    """In place of `worker.pipeline.recommender.load`: no artifact, no encoder, no scores."""
    catalogue = Catalogue(DIMENSIONS)
    scorer: Any = SimpleNamespace(
        catalogue=catalogue, popularity=Popularity(), device="none", gpu_bytes=lambda: 0
    )
    scorer.not_finite = 0
    encoder: Any = SimpleNamespace(
        unknown=lambda texts: [],
        encode=lambda texts: np.zeros((len(texts), DIMENSIONS), np.float32),
    )
    return Recommender(scorer, encoder, MODEL, k, rules)


def same_list(self: Recommender, _: Iterable[Counted], requests: Sequence[Request]) -> list[Ranked]:
    """In place of `Recommender.answer`: counts nothing, ranks nothing."""
    return [Ranked(HASHES, ITEMS)] * len(requests)


def first_products(
    self: Scorer, states: Sequence[Any], nows: Sequence[float], k: int, rules: Any = None
) -> list[Ranking]:
    """In place of `Scorer.recommend`: the first products of the catalogue."""
    rows = np.arange(min(k, len(self.catalogue)))
    ranking = Ranking(rows, np.full(len(rows), 0.5, np.float32), [["popular"] for _ in rows])
    return [ranking] * len(states)


def install(counting: bool = False) -> None:
    """Put the stub into this process's worker."""
    if counting:
        Scorer.recommend = first_products  # type: ignore[method-assign, assignment]
    else:
        recommender.load = load_stub
        Recommender.answer = same_list  # type: ignore[method-assign]


if __name__ == "__main__":
    install(COUNTING in sys.argv)
    app.run(load())
