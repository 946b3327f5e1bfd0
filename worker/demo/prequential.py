"""Each basket against the list that was published before it, and against two baselines at the same moment. Pure.

The baselines see everything strictly before the basket; the list was made right after the household's previous event.
That favours the baselines.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from worker.demo.households import DAY, Visit

K = 10
WEEK, MONTH = 7 * DAY, 28 * DAY
HALF_LIFE = 60.0 * DAY
"""Of a purchase in personal top frequency, seconds."""

_DISCOUNT = 1.0 / np.log2(np.arange(2, K + 2))


def hits(listed: Sequence[str], truth: Collection[str]) -> NDArray[np.bool_]:
    """Which of the first `K` places hold a product of the basket."""
    return np.array([product in truth for product in listed[:K]], bool)


def ndcg(listed: Sequence[str], truth: Collection[str]) -> float:
    """NDCG@10 of a list for a basket of distinct products; the ideal puts min(|truth|, 10) of them first."""
    found = hits(listed, truth)
    return float(_DISCOUNT[: len(found)][found].sum() / _DISCOUNT[: min(len(truth), K)].sum())


@dataclass(slots=True)
class Scores:
    """Sums over the baskets judged."""

    baskets: int = 0
    hit: float = 0.0
    pprm: float = 0.0
    popularity: float = 0.0
    top_frequency: float = 0.0

    def add(self, truth: Collection[str], listed: Sequence[str], baselines: "Ranked") -> None:
        """Judge one basket; `truth` has at least one product."""
        self.baskets += 1
        self.hit += bool(hits(listed, truth).any())
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


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the baselines would recommend, best first."""

    popularity: list[str]
    top_frequency: list[str]


@dataclass(slots=True)
class _Window:
    """Purchases per product within the last `seconds`; moves forward only."""

    seconds: int
    counts: NDArray[np.int64]
    begin: int = 0
    end: int = 0

    def advance(self, now: int, times: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        end, begin = np.searchsorted(times, [now, now - self.seconds])
        np.add.at(self.counts, rows[self.end : end], 1)
        np.subtract.at(self.counts, rows[self.begin : begin], 1)
        self.begin, self.end = int(begin), int(end)


@dataclass(slots=True)
class Baselines:
    """7-day popularity, and personal top frequency filled up with 28-day popularity, over what can be listed."""

    products: Sequence[str]
    _times: NDArray[np.int64]
    _rows: NDArray[np.int64]
    _own: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
    _week: _Window = field(init=False)
    _month: _Window = field(init=False)

    def __post_init__(self) -> None:
        self._week = _Window(WEEK, np.zeros(len(self.products), np.int64))
        self._month = _Window(MONTH, np.zeros(len(self.products), np.int64))

    def at(self, household: str, now: int) -> Ranked:
        """Rank as of `now` (Unix seconds, never smaller than before) from all purchases strictly before it."""
        for window in (self._week, self._month):
            window.advance(now, self._times, self._rows)
        return Ranked(self._names(_top(self._week.counts)), self._names(self._frequent(household, now)))

    def _frequent(self, household: str, now: int) -> NDArray[np.int64]:
        times, rows = self._own[household]
        past = int(np.searchsorted(times, now))
        own, which = np.unique(rows[:past], return_inverse=True)
        weights = np.bincount(which, 2.0 ** ((times[:past] - now) / HALF_LIFE), minlength=len(own))
        month = self._month.counts
        best = own[np.lexsort((-month[own], -weights))][:K]
        others = month.copy()
        others[own] = -1
        return np.concatenate([best, _top(others)])[:K]

    def _names(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.products[row] for row in rows.tolist()]


def _top(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the `K` largest counts, ties in row order."""
    keys = np.arange(len(counts)) - counts * len(counts)
    best = np.argpartition(keys, min(K, len(keys)) - 1)[:K]
    return best[np.argsort(keys[best])]


def baselines(products: Sequence[str], history: Mapping[str, Iterable[Visit]]) -> Baselines:
    """Make the baselines for these products (ties: in their order) from all baskets; `at` looks only back."""
    row_of = {product: row for row, product in enumerate(products)}
    own = {household: _arrays(baskets, row_of) for household, baskets in history.items()}
    times = np.concatenate([times for times, _ in own.values()])
    rows = np.concatenate([rows for _, rows in own.values()])
    order = np.argsort(times, kind="stable")
    return Baselines(products, times[order], rows[order], own)


def _arrays(baskets: Iterable[Visit], row_of: Mapping[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bought = [(basket.time, row_of[product]) for basket in baskets for product in basket.products if product in row_of]
    columns = np.array(bought, np.int64).reshape(-1, 2)
    return columns[:, 0].copy(), columns[:, 1].copy()
