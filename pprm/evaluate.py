"""Offline evaluation: lists against the baskets of a month, everything in them strictly before.

November validates (2,014 baskets, one a household), December tests (5,026, at most three a household). All candidates
are ranked. `new` leaves out, on both sides, what the household bought before. `as served` judges the list that the
worker would have published right after the household's previous basket: the shop cannot know when the next visit
comes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from pprm import metrics
from pprm.baselines import TopFrequency, Windows
from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.replay import Visit, next_visits, replay
from pprm.scorer import Scorer

Scores: TypeAlias = NDArray[np.floating]
Score: TypeAlias = Callable[[Visit], Scores]
"""Scores of all candidates for a visit."""
Results: TypeAlias = dict[str, dict[str, Any]]

MONTHS = {"validation": (datetime(2017, 11, 1, tzinfo=UTC), 1), "test": (datetime(2017, 12, 1, tzinfo=UTC), 3)}
"""First day of each month of queries, and baskets per household at most."""
END = datetime(2018, 1, 1, tzinfo=UTC)
SEED = 7
MODELS = ("popularity 7 d", "personal top frequency", "PPRM", "PPRM as served")


@dataclass(slots=True)
class _Column:
    """What one model got in one month, query by query."""

    all: list[tuple[float, float, float]] = field(default_factory=list)
    new: list[tuple[float, float, float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)


def queries(dataset: Dataset, available: NDArray[np.bool_]) -> dict[int, str]:
    """Month of each visit that is a query, by the visit's number."""
    rng = np.random.default_rng(SEED)
    first = dataset.visits()
    user, start = dataset.user[first[:-1]], dataset.time[first[:-1]]
    answerable = np.add.reduceat(available[dataset.product], first[:-1]) > 0
    chosen: dict[int, str] = {}
    starts = [begin for begin, _ in MONTHS.values()] + [END]
    for (month, (begin, most)), end in zip(MONTHS.items(), starts[1:], strict=True):
        inside = np.flatnonzero(answerable & (start >= begin.timestamp()) & (start < end.timestamp()))
        by_user: dict[int, list[int]] = defaultdict(list)
        for visit in inside.tolist():
            by_user[int(user[visit])].append(visit)
        for _, visits in sorted(by_user.items()):
            chosen |= dict.fromkeys(rng.permutation(visits)[:most].tolist(), month)
    return chosen


def evaluate(
    dataset: Dataset, catalogue: Catalogue, scorer: Scorer, progress: Callable[[int], None] = lambda done: None
) -> Results:
    """Replay the dataset and judge the model of `scorer`, which holds `catalogue`, beside the baselines.

    Returns:
        Per model `all` and `new` {ndcg_at_10, recall_at_10, hr_at_10} and `binary` {accuracy, precision, recall} of the
        test month, and `queries`.
    """
    run = _Run(dataset, catalogue, scorer)
    for visit in replay(dataset, catalogue, scorer.popularity, int(END.timestamp())):
        run.see(visit)
        progress(visit.number)
    return run.results()


class _Run:
    """State of one evaluation."""

    def __init__(self, dataset: Dataset, catalogue: Catalogue, scorer: Scorer) -> None:
        self.dataset, self.catalogue, self.scorer = dataset, catalogue, scorer
        self.rows = scorer.candidates
        self.column = np.full(len(catalogue), -1)
        self.column[self.rows] = np.arange(len(self.rows))
        self.queries = queries(dataset, catalogue.available)
        self.following = next_visits(dataset)
        self.windows = Windows(dataset.product, dataset.time, len(catalogue))
        self.frequency = TopFrequency()
        self.waiting: dict[int, Scores] = {}
        self.columns: dict[str, dict[str, _Column]] = {
            month: {model: _Column() for model in MODELS} for month in MONTHS
        }
        self.rng = np.random.default_rng(SEED)

    def see(self, visit: Visit) -> None:
        """Judge a visit that is a query, and score what will be served for one that comes next."""
        month = self.queries.get(visit.number)
        if month:
            self._judge(month, visit)
        self.frequency.add(visit.user, visit.products, visit.now)
        following = int(self.following[visit.number])
        if following in self.queries:
            self.waiting[following] = self._pprm(visit.after, visit.now)

    def _scores(self, visit: Visit) -> Iterator[tuple[str, Scores]]:
        yield "popularity 7 d", self.windows.before(visit.now, 7)[self.rows]
        month = self.windows.before(visit.now, 28)
        yield "personal top frequency", self.frequency.scores(visit.user, visit.now, month)[self.rows]
        yield "PPRM", self._pprm(visit.before, visit.now)
        if visit.number in self.waiting:
            yield "PPRM as served", self.waiting.pop(visit.number)

    def _pprm(self, state: Any, now: float) -> Scores:
        return self.scorer.rank_scores(state, now)

    def _judge(self, month: str, visit: Visit) -> None:
        truth = set(self.column[visit.products].tolist()) - {-1}
        bought = self.catalogue.rows(visit.before.product_keys())
        seen = self.column[bought[bought >= 0]]
        excluded = np.zeros(len(self.rows), bool)
        excluded[seen[seen >= 0]] = True
        fresh = truth - set(seen.tolist())
        others = self.rng.choice(len(self.rows), len(truth))
        for model, scores in self._scores(visit):
            column = self.columns[month][model]
            column.all.append(_ranking(metrics.top(scores), truth))
            if fresh:
                column.new.append(_ranking(metrics.top(scores, excluded), fresh))
            column.scores += scores[[*sorted(truth), *others]].tolist()
            column.labels += [True] * len(truth) + [int(other) in truth for other in others]

    def results(self) -> Results:
        """Figures of the test month, with the decision's threshold from the validation month."""
        out: Results = {
            "queries": {"all": len(self.columns["test"]["PPRM"].all), "new": len(self.columns["test"]["PPRM"].new)}
        }
        for model in MODELS:
            test, validation = self.columns["test"][model], self.columns["validation"][model]
            threshold = metrics.best_threshold(np.array(validation.scores), np.array(validation.labels))
            out[model] = {
                "all": _means(test.all),
                "new": _means(test.new),
                "binary": metrics.decision(np.array(test.scores), np.array(test.labels), threshold),
                "validation": {"all": _means(validation.all), "new": _means(validation.new)},
            }
        return out


def table(results: Results) -> Table:
    """The figures as a table for people."""
    shown = Table(title=f"December test, {results['queries']['all']} baskets", title_justify="left")
    for column in ("model", "NDCG@10", "recall@10", "HR@10", "new NDCG@10", "new recall@10", "new HR@10"):
        shown.add_column(column, justify="left" if column == "model" else "right")
    for column in ("accuracy", "precision", "recall"):
        shown.add_column(column, justify="right")
    for model in MODELS:
        values = [value for part in ("all", "new", "binary") for value in results[model][part].values()]
        shown.add_row(model, *(f"{value:.4f}" for value in values))
    return shown


def _ranking(ranked: NDArray[np.int64], truth: set[int]) -> tuple[float, float, float]:
    return metrics.ndcg(ranked, truth), metrics.recall(ranked, truth), metrics.hit(ranked, truth)


def _means(values: list[tuple[float, float, float]]) -> Mapping[str, float]:
    means = np.mean(values, axis=0) if values else np.zeros(3)
    return dict(zip(("ndcg_at_10", "recall_at_10", "hr_at_10"), map(float, means), strict=True))
