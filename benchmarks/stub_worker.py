"""The real worker with a recommender that gives everybody the same list at once: all that is not the model.

`python -m benchmarks.stub_worker` in place of `pprm worker`; settings come from the environment.
"""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from pprm.catalogue import Catalogue
from pprm.fold import Counted
from pprm.popularity import Popularity
from pprm.ranking import NO_RULES, Rules
from worker import app, recommender
from worker.recommender import Ranked, Recommender, Request
from worker.settings import Model, load

MODEL = {"name": "stub", "version": "1", "sha256": "0" * 64}
DIMENSIONS = 8
"""Of the product texts' vectors, which nobody reads."""


def load_stub(_: Model, k: int, rules: Rules = NO_RULES) -> Recommender:
    """In place of `worker.recommender.load`: no artifact, no encoder, no scores."""
    catalogue = Catalogue(DIMENSIONS)
    scorer: Any = SimpleNamespace(catalogue=catalogue, popularity=Popularity(), device="none", gpu_bytes=lambda: 0)
    encoder: Any = SimpleNamespace(
        unknown=lambda texts: [], encode=lambda texts: np.zeros((len(texts), DIMENSIONS), np.float32)
    )
    return Recommender(scorer, encoder, MODEL, k, rules)


def same_list(self: Recommender, _: Iterable[Counted], requests: Sequence[Request]) -> list[Ranked]:
    """In place of `Recommender.answer`: counts nothing, ranks nothing."""
    items = [(f"product-{rank}", 0.5, ["popular"]) for rank in range(self.k)]
    return [Ranked(list(range(1, self.k + 1)), items)] * len(requests)


def main() -> None:
    recommender.load = load_stub
    Recommender.answer = same_list  # type: ignore[method-assign]
    app.run(load())


if __name__ == "__main__":
    main()
