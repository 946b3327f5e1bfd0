"""Each basket against the list that was published before it, and against two baselines at the same moment. Pure.

The baselines see everything strictly before the basket; the list was made right after the household's previous event.
That favours the baselines.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.baselines import TopFrequency
from pprm.ids import stable_hash
from pprm.metrics import hit, ndcg, top
from worker.demo.households import DAY, Visit

WEEK, MONTH = 7 * DAY, 28 * DAY

Rows = NDArray[np.int64]
"""Products as rows of the products that can be listed."""


class Ranked(NamedTuple):
    """What the baselines would recommend, best first."""

    popularity: Rows
    top_frequency: Rows


@dataclass(slots=True)
class Scores:
    """Sums over the baskets judged."""

    baskets: int = 0
    hit: float = 0.0
    pprm: float = 0.0
    popularity: float = 0.0
    top_frequency: float = 0.0

    def add(self, truth: set[int], listed: Rows, baselines: Ranked) -> None:
        """Judge one basket; `truth` has at least one product."""
        self.baskets += 1
        self.hit += hit(listed, truth)
        self.pprm += ndcg(listed, truth)
        self.popularity += ndcg(baselines.popularity, truth)
        self.top_frequency += ndcg(baselines.top_frequency, truth)

    def means(self) -> dict[str, float | int | None]:
        """Return the figures of the report; a mean over no basket is None."""
        sums = {
            "hit_rate_at_10": self.hit,
            "ndcg_at_10": self.pprm,
            "popularity_ndcg_at_10": self.popularity,
            "top_frequency_ndcg_at_10": self.top_frequency,
        }
        means = {name: round(value / self.baskets, 4) if self.baskets else None for name, value in sums.items()}
        return {"baskets": self.baskets} | means


@dataclass(slots=True)
class _Window:
    """Purchases per product within the last `seconds`; moves forward only."""

    seconds: int
    counts: NDArray[np.float32]
    begin: int = 0
    end: int = 0

    def advance(self, now: int, times: NDArray[np.int64], rows: Rows) -> None:
        end, begin = np.searchsorted(times, [now, now - self.seconds])
        np.add.at(self.counts, rows[self.end : end], 1)
        np.subtract.at(self.counts, rows[self.begin : begin], 1)
        self.begin, self.end = int(begin), int(end)


@dataclass(slots=True)
class Baselines:
    """7-day popularity, and personal top frequency filled up with 28-day popularity, over what can be listed."""

    _row: Mapping[str, int]
    _baskets: Sequence[Visit]
    """All, of the replay too, in time order: only those before the moment asked for are looked at."""
    _times: NDArray[np.int64]
    _rows: Rows
    """Time and product of each purchase, in time order."""
    _week: _Window = field(init=False)
    _month: _Window = field(init=False)
    _frequency: TopFrequency = field(default_factory=TopFrequency)
    _seen: int = 0

    def __post_init__(self) -> None:
        self._week = _Window(WEEK, np.zeros(len(self._row), np.float32))
        self._month = _Window(MONTH, np.zeros(len(self._row), np.float32))

    def rows(self, products: Iterable[str]) -> Rows:
        """Rows of products in their order, without those that cannot be listed."""
        return np.array([self._row[product] for product in products if product in self._row], np.int64)

    def advance(self, now: int) -> None:
        """Take in everything strictly before `now` (Unix seconds, never smaller than before)."""
        for window in (self._week, self._month):
            window.advance(now, self._times, self._rows)
        while self._seen < len(self._baskets) and self._baskets[self._seen].time < now:
            basket = self._baskets[self._seen]
            rows = self.rows(basket.products).astype(np.int32)
            self._frequency.add(stable_hash(basket.household), rows, basket.time)
            self._seen += 1

    def at(self, household: str, now: int) -> Ranked:
        """Rank for a household as of `now`; see `advance`."""
        self.advance(now)
        frequent = self._frequency.scores(stable_hash(household), now, self._month.counts)
        return Ranked(top(self._week.counts), top(frequent))


def baselines(products: Sequence[str], history: Mapping[str, Iterable[Visit]]) -> Baselines:
    """Make the baselines for these products (ties: in their order) and all baskets; looks are nothing to them."""
    row_of = {product: row for row, product in enumerate(products)}
    baskets = sorted(visit for visit in chain.from_iterable(history.values()) if visit.is_basket)
    bought = [(basket.time, row_of[p]) for basket in baskets for p in basket.products if p in row_of]
    columns = np.array(bought, np.int64).reshape(-1, 2)
    return Baselines(row_of, baskets, columns[:, 0].copy(), columns[:, 1].copy())
