"""PPRM as a contender.

It ranks at the visit, as served right after the visit before, and in other shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit, next_visits
from pprm.serving.scorer import Scorer
from pprm.state.user_state import UserState


@dataclass(slots=True)
class AtVisit:
    """The model at the moment of the visit."""

    name: str
    scorer: Scorer
    ranks: bool = True
    """Whether its candidates are ranked as well; False: retrieval alone."""
    see: Callable[[Visit], UserState] = lambda visit: visit.before
    """The state that is scored."""

    def learned_bytes(self) -> int:
        """See `protocol.Contender`."""
        return self.scorer.learned_bytes(ranks=self.ranks)

    def add(self, visit: Visit) -> None:
        """Nothing to keep: the state is the visit's."""

    def scores(self, visit: Visit) -> Floats:
        """See `protocol.Contender`."""
        return rank(self.scorer, self.see(visit), visit.now, ranks=self.ranks)


@dataclass(slots=True)
class AsServed:
    """The list that the worker publishes right after a visit, judged at the shopper's next one."""

    name: str
    scorer: Scorer
    wanted: set[int]
    """Numbers of the visits that will be judged."""
    following: NDArray[np.int64]
    _waiting: dict[int, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, scorer: Scorer, dataset: Dataset, wanted: set[int]) -> "AsServed":
        """For the visits `wanted` of a dataset."""
        return cls(name, scorer, wanted, next_visits(dataset))

    def learned_bytes(self) -> int:
        """See `protocol.Contender`."""
        return self.scorer.learned_bytes()

    def add(self, visit: Visit) -> None:
        """Score what will be served for the next visit, if that is judged."""
        after = int(self.following[visit.number])
        if after in self.wanted:
            self._waiting[after] = rank(self.scorer, visit.after, visit.now)

    def scores(self, visit: Visit) -> Floats:
        """See `protocol.Contender`; a shopper's first visit is scored on the spot."""
        made = self._waiting.pop(visit.number, None)
        return rank(self.scorer, visit.before, visit.now) if made is None else made


def rank(scorer: Scorer, state: UserState, now: float, *, ranks: bool = True) -> Floats:
    """Scores of all rows of the scorer's catalogue, in whose order it lists them.

    Without `ranks` they are those of retrieval alone.
    """
    scores = (
        scorer.rank_scores(state, now) if ranks else scorer.score([state], [now])[0].cpu().numpy()
    )
    out = np.full(len(scorer.catalogue), -np.inf, np.float32)
    out[scorer.candidates] = scores
    return out
