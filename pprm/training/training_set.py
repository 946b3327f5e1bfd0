"""Training examples from visits replayed.

Each has a sample of candidates, in the input layer's features.

Half of the visits are seen at the visit (state before it, features at its time). Half are seen as
the worker serves them: right after the shopper's previous visit, whose list is what the shop has
when the next one comes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.data.dataset import Dataset
from pprm.data.replay import next_visits, replay
from pprm.data.visits import young
from pprm.retrieval import features, retriever
from pprm.state.user_state import MAX_SEQUENCE, UserState

CANDIDATES = 80
POSITIVES = 8
"""Most positives of a basket.

The rest of a visit's candidates are drawn uniformly from the catalogue.
"""
COLD = 0.1
"""Share of visits with only the last 0 to 11 purchases, so that young shoppers are known too."""
IGNORED = -1
"""Label of a drawn candidate that was bought: neither a negative nor a chosen positive."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Q visits with C candidates each."""

    user: NDArray[np.int32]
    """[Q]"""
    scalars: NDArray[np.float32]
    """[Q, 7]"""
    rows: NDArray[np.int32]
    """Sequence, [Q, MAX_SEQUENCE]; also `ages` and `weights`."""
    ages: NDArray[np.float16]
    weights: NDArray[np.float16]
    candidates: NDArray[np.int32]
    """Catalogue rows, [Q, C]."""
    cross: NDArray[np.float16]
    """[Q, C, 40]"""
    labels: NDArray[np.int8]
    """1 bought, 0 not, `IGNORED`; [Q, C]."""


def build(
    dataset: Dataset,
    catalogue: Catalogue,
    visits: NDArray[np.int64],
    until: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainingSet:
    """Replay until a Unix time and make examples.

    Half of `visits` (numbers, in any order) are as seen, half as served.
    """
    rng, popularity = np.random.default_rng(seed), Popularity()
    sample = _Sample(catalogue, popularity, rng, len(visits))
    chosen = visits.tolist()
    seen, served = set(chosen[::2]), set(chosen[1::2])
    following, first = next_visits(dataset), dataset.visits()
    for visit in replay(dataset, catalogue, popularity, until):
        if visit.number in seen:
            sample.add(visit.user, visit.before, visit.now, visit.products)
        if (after := int(following[visit.number])) in served:
            sample.add(
                visit.user, visit.after, visit.now, dataset.product[first[after] : first[after + 1]]
            )
        progress(visit.number)
    return sample.done()


class _Sample:
    """Arrays of the training set, filled visit by visit."""

    def __init__(
        self, catalogue: Catalogue, popularity: Popularity, rng: np.random.Generator, visits: int
    ) -> None:
        self.catalogue, self.popularity, self.rng, self.filled = catalogue, popularity, rng, 0
        self.pool = np.flatnonzero(catalogue.available)
        self.day, self.daily = -1, np.zeros((0, len(features.POPULARITY)), np.float32)
        self.out = TrainingSet(
            np.zeros(visits, np.int32),
            np.zeros((visits, len(features.SCALARS)), np.float32),
            np.zeros((visits, MAX_SEQUENCE), np.int32),
            np.zeros((visits, MAX_SEQUENCE), np.float16),
            np.zeros((visits, MAX_SEQUENCE), np.float16),
            np.zeros((visits, CANDIDATES), np.int32),
            np.zeros((visits, CANDIDATES, len(features.CROSS)), np.float16),
            np.zeros((visits, CANDIDATES), np.int8),
        )

    def add(self, user: int, state: UserState, now: int, bought: NDArray[np.int32]) -> None:
        """Append one visit."""
        if self.rng.random() < COLD:
            state = young(state, int(self.rng.integers(0, 12)))
        q, out = self.filled, self.out
        candidates, out.labels[q] = self._candidates(bought)
        out.user[q], out.candidates[q], out.scalars[q] = (
            user,
            candidates,
            features.scalars(state, now),
        )
        rows, ages, weights = retriever.sequences([state], [now], self.catalogue)
        out.rows[q], out.ages[q], out.weights[q] = rows[0], ages[0], weights[0]
        groups = features.groups(state, self.catalogue, now)
        out.cross[q] = features.dense(
            groups, self.catalogue, candidates, self._popularity()[candidates]
        )
        self.filled += 1

    def _candidates(self, bought: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        truth = np.unique(bought[self.catalogue.available[bought]]).astype(np.int64)
        positives = (
            truth if len(truth) <= POSITIVES else self.rng.choice(truth, POSITIVES, replace=False)
        )
        drawn = self.rng.choice(self.pool, CANDIDATES - len(positives))
        labels = np.where(np.isin(drawn, truth), IGNORED, 0)
        return np.r_[positives, drawn], np.r_[np.ones(len(positives)), labels].astype(np.int8)

    def _popularity(self) -> NDArray[np.float32]:
        if self.day != self.popularity.day:
            self.day, self.daily = (
                self.popularity.day,
                self.popularity.features(self.catalogue.hashes),
            )
        return self.daily

    def done(self) -> TrainingSet:
        """What was filled."""
        n = self.filled
        o = self.out
        return TrainingSet(
            o.user[:n],
            o.scalars[:n],
            o.rows[:n],
            o.ages[:n],
            o.weights[:n],
            o.candidates[:n],
            o.cross[:n],
            o.labels[:n],
        )
