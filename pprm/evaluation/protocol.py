"""Which visits are judged, and what a contender gets for one.

Everything that it knows lies strictly before.

- A period validates, the next one tests (`pprm.data.plan`); so many visits a shopper at most, drawn
  once, with a seed: the same in every table.
- All products that may be recommended are ranked: a sample of negatives would flatter (Krichene and
  Rendle, "On sampled metrics for item recommendation", KDD 2020).
- `new` leaves out, on both sides, what the shopper bought before: repeats are easy and half of the
  truth.
- Whoever learns does so until the test begins, with what was chosen on validation: a shop would,
  too.
- Decisions: as many products drawn uniformly as were bought; the threshold with the best accuracy
  in validation, whose visits those who learn have seen.
- Standard errors are clustered by shopper: the visits of one are no independent witnesses.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.data.dataset import Dataset
from pprm.data.plan import Split
from pprm.data.replay import Visit, replay
from pprm.evaluation import list_metrics
from pprm.serving import selection

Scores: TypeAlias = NDArray[np.floating]


SEED = 7
K = list_metrics.K


class Contender(Protocol):
    """Whoever recommends."""

    @property
    def name(self) -> str:
        """As a table shows it."""

    def learned_bytes(self) -> int:
        """Bytes in memory of what it learned over all shoppers, without vectors of texts."""

    def add(self, visit: Visit) -> None:
        """Called after each visit, in time order, from the beginning of the data."""

    def scores(self, visit: Visit) -> Scores:
        """Score all rows of the catalogue, [len(catalogue)], knowing what was before the visit."""


@dataclass(slots=True)
class Judged:
    """What a contender got in a split; a row per visit judged, Q of them."""

    all: list[tuple[float, float, float]] = field(default_factory=list)
    """NDCG, recall, hit rate at 10."""
    new: list[tuple[float, float, float]] = field(default_factory=list)
    """NaN where nothing new was bought."""
    lists: list[NDArray[np.int64]] = field(default_factory=list)
    """The first ten, as columns of the candidates."""
    repeats: list[float] = field(default_factory=list)
    """Share of the list that the shopper bought before."""
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    learned_bytes: int = 0
    seconds: float = 0.0
    """Spent in scoring."""


@dataclass(slots=True)
class Visits:
    """Who was judged in a split, [Q] each."""

    user: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    baskets: list[int] = field(default_factory=list)
    """Of the shopper before the visit."""


def queries(
    dataset: Dataset, available: NDArray[np.bool_], splits: dict[str, Split]
) -> dict[int, str]:
    """Split of each visit that is judged, by the visit's number."""
    rng = np.random.default_rng(SEED)
    first = dataset.visits()
    user, start = dataset.user[first[:-1]], dataset.time[first[:-1]]
    answerable = np.add.reduceat(available[dataset.product], first[:-1]) > 0
    chosen: dict[int, str] = {}
    for name, split in splits.items():
        inside = np.flatnonzero(
            answerable & dataset.is_basket() & (start >= split.begin) & (start < split.end)
        )
        by_user: dict[int, list[int]] = defaultdict(list)
        for visit in inside.tolist():
            by_user[int(user[visit])].append(visit)
        for _, visits in sorted(by_user.items()):
            chosen |= dict.fromkeys(rng.permutation(visits)[: split.most].tolist(), name)
    return chosen


class Judge:
    """Judges contenders at the visits of a dataset."""

    def __init__(self, dataset: Dataset, catalogue: Catalogue, splits: dict[str, Split]) -> None:
        rows = np.flatnonzero(catalogue.available)
        self.rows = rows[np.argsort(catalogue.hashes[rows])]  # the order of a scorer's candidates
        self.column = np.full(len(catalogue), -1)
        self.column[self.rows] = np.arange(len(self.rows))
        self.catalogue, self.queries = catalogue, queries(dataset, catalogue.available, splits)
        self.visits = {name: Visits() for name in splits}
        self.rng = np.random.default_rng(SEED)

    def look(self, visit: Visit) -> "Question":
        """What is asked of every contender at a visit that is judged."""
        truth = set(self.column[visit.products].tolist()) - {-1}
        bought = self.catalogue.rows(visit.before.product_keys())
        seen = np.zeros(len(self.rows), bool)
        seen[self.column[bought[bought >= 0]][self.column[bought[bought >= 0]] >= 0]] = True
        drawn = self.rng.choice(len(self.rows), len(truth))
        about = self.visits[self.queries[visit.number]]
        about.user.append(visit.user)
        about.time.append(visit.now)
        about.baskets.append(visit.before.baskets)
        return Question(truth, seen, drawn)


class Question(NamedTuple):
    """A judged visit.

    It has the columns that were bought, those the shopper had, and as many drawn uniformly.
    """

    truth: set[int]
    seen: NDArray[np.bool_]
    drawn: NDArray[np.int64]

    def judge(self, scores: Scores, into: Judged) -> None:
        """Judge scores of the candidates, [N]."""
        fresh = {column for column in self.truth if not self.seen[column]}
        listed = selection.top(scores)
        into.all.append(_ranking(listed, self.truth))
        into.new.append(
            _ranking(selection.top(scores, self.seen), fresh) if fresh else (np.nan,) * 3
        )
        into.lists.append(listed)
        into.repeats.append(float(self.seen[listed].mean()))
        into.scores += scores[[*sorted(self.truth), *self.drawn]].tolist()
        into.labels += [True] * len(self.truth) + [
            int(column) in self.truth for column in self.drawn
        ]


def _ranking(ranked: NDArray[np.int64], truth: set[int]) -> tuple[float, float, float]:
    return (
        list_metrics.ndcg(ranked, truth),
        list_metrics.recall(ranked, truth),
        list_metrics.hit(ranked, truth),
    )


class Outcome(NamedTuple):
    """The result of an evaluation.

    By split, it has who was judged and, by contender's name, the figures.
    """

    visits: dict[str, Visits]
    judged: dict[str, dict[str, Judged]]
    candidates: NDArray[np.int64]
    """Catalogue rows that were ranked, [N]."""


def run(
    dataset: Dataset,
    catalogue: Catalogue,
    popularity: Popularity,
    contenders: list[Contender],
    splits: dict[str, Split],
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Replay the dataset once and judge all contenders on the same visits.

    `popularity` is theirs and is counted along.

    Raises:
        ValueError: two contenders have one name.
    """
    names = [contender.name for contender in contenders]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"more than one contender is called {', '.join(sorted(repeated))}")
    from time import process_time

    judge = Judge(dataset, catalogue, splits)
    judged = {
        name: {of.name: Judged(learned_bytes=of.learned_bytes()) for of in contenders}
        for name in splits
    }
    for visit in replay(
        dataset, catalogue, popularity, max(split.end for split in splits.values())
    ):
        split = judge.queries.get(visit.number)
        question = judge.look(visit) if split else None
        for contender in contenders:
            if question and split:
                into, started = judged[split][contender.name], process_time()
                scores = contender.scores(visit)[judge.rows]
                into.seconds += process_time() - started
                question.judge(scores, into)
            contender.add(visit)
        progress(visit.number)
    return Outcome(judge.visits, judged, judge.rows)
