"""Personal top frequency: what a shopper buys most, mixed with what everybody buys.

Recent purchases count more.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import product as every
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation import list_metrics
from pprm.evaluation.baselines.history import DecayedCounts
from pprm.evaluation.baselines.popularity import PopularityBaseline
from pprm.serving import selection
from pprm.state.user_state import DAY

WINDOWS = (7, 28, None)
"""Days of popularity that are tried."""
HALF_LIVES = (1.0, 2.0, 4.0, 7.0, 14.0, 28.0, 40.0, 56.0, 80.0, 112.0, 160.0, inf)
"""Of a personal purchase, days."""
WEIGHTS = (1e-6, 0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 3.0)
"""Counts of the best seller, in own purchases just now; the least weight only fills up."""


@dataclass(slots=True)
class PersonalTopFrequency:
    """Decayed counts of the shopper's own purchases, plus `weight` times popularity.

    Nothing is learned.

    The defaults are what the validation of the groceries chose; see `choose`.
    """

    half_life: float = 80.0
    """Days; inf: no decay."""
    weight: float = 0.6
    """Of popularity, whose best seller counts 1."""
    days: int | None = 7
    """Window of the popularity."""
    _frequency: DecayedCounts = field(init=False, repr=False)
    _popularity: PopularityBaseline = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        window = f"{self.days} d" if self.days else "of all time"
        return f"own frequency {self.half_life:g} d + {self.weight:g} popularity {window}"

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Begin with nothing bought."""
        self.begin(len(catalogue))

    def begin(self, products: int) -> None:
        """Begin with nothing bought of so many products."""
        self._frequency, self._popularity = (
            DecayedCounts(self.half_life),
            PopularityBaseline(self.days),
        )
        self._popularity.begin(products)

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return self._popularity.learned_bytes()

    def add(self, visit: Visit) -> None:
        """Count a basket."""
        self.bought(visit.user, visit.products, visit.now)

    def bought(self, user: int, products: NDArray[np.int32], now: int) -> None:
        """Count what a shopper bought at a moment, never earlier than the one before."""
        self._frequency.add(user, products, now)
        self._popularity.sold(products, now)

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """Decayed counts and popularity."""
        return self.of(visit.user, visit.now)

    def of(self, user: int, now: int) -> NDArray[np.float64]:
        """The same for a shopper at a moment, [products]."""
        out = self.weight * _share(self._popularity.at(now))
        products, counts = self._frequency.of(user, now)
        out[products] += counts
        return out


def _share(popularity: NDArray[np.float32]) -> NDArray[np.float64]:
    """Popularity whose best seller counts 1."""
    return popularity.astype(np.float64) / max(float(popularity.max(initial=0)), 1.0)


class Query(NamedTuple):
    """A visit to choose the settings by.

    It has what was bought at it, what the shopper bought before, and what sold, by window.
    """

    truth: set[int]
    own: NDArray[np.int32]
    ages: NDArray[np.float64]
    """Of the own purchases, days."""
    popularity: dict[int | None, NDArray[np.float32]]
    """[products]; valid until the next visit is asked for."""


def choose(
    dataset: Dataset, available: NDArray[np.bool_], queries: Collection[int]
) -> PersonalTopFrequency:
    """Return the settings with the best NDCG@10 at some visits (numbers).

    They are the defaults where there is no visit.

    First the window is chosen by which popularity alone is best, then half-life and weight
    together.
    """
    gains = [
        [
            list_metrics.ndcg(
                selection.top(np.where(available, one.popularity[days], -1)), one.truth
            )
            for days in WINDOWS
        ]
        for one in _queries(dataset, available, queries, WINDOWS)
    ]
    if not gains:
        return PersonalTopFrequency()
    days = WINDOWS[int(np.mean(gains, axis=0).argmax())]
    gains = [_tried(one, days) for one in _queries(dataset, available, queries, (days,))]
    half_life, weight = list(every(HALF_LIVES, WEIGHTS))[int(np.mean(gains, axis=0).argmax())]
    return PersonalTopFrequency(half_life, weight, days)


def _tried(one: Query, days: int | None) -> list[float]:
    """NDCG@10 of a visit by each half-life and weight."""
    popularity = one.popularity[days]
    # nothing else can be among the first ten
    pool = np.union1d(one.own, selection.top(popularity, k=list_metrics.K + len(one.own)))
    place = np.searchsorted(pool, one.own)
    own = np.stack(
        [np.bincount(place, 0.5 ** (one.ages / half_life), len(pool)) for half_life in HALF_LIVES]
    )
    scores = own[:, None] + np.array(WEIGHTS)[:, None] * _share(popularity)[pool]
    best = np.argsort(-scores.reshape(-1, len(pool)), kind="stable")[:, : list_metrics.K]
    return [list_metrics.ndcg(pool[listed], one.truth) for listed in best]


def _queries(
    dataset: Dataset,
    available: NDArray[np.bool_],
    queries: Collection[int],
    windows: Collection[int | None],
) -> Iterator[Query]:
    """Yield visits in time order, with what was before each.

    Only products that may be recommended are looked at.
    """
    counted = dataset.purchases() & available[dataset.product]
    # by shopper, then in time order
    mine = np.flatnonzero(counted)[np.argsort(dataset.user[counted], kind="stable")]
    start = np.searchsorted(dataset.user[mine], np.arange(len(dataset.users) + 1))
    first, sold = dataset.visits(), {days: PopularityBaseline(days) for days in windows}
    for popularity in sold.values():
        popularity.begin(len(available))
    for number in np.flatnonzero(dataset.is_basket()).tolist():
        basket = dataset.product[first[number] : first[number + 1]]
        basket, now, user = (
            basket[available[basket]],
            int(dataset.time[first[number]]),
            dataset.user[first[number]],
        )
        if number in queries:
            own = mine[start[user] : start[user + 1]]
            own = own[: np.searchsorted(dataset.time[own], now)]
            ages = (now - dataset.time[own]) / DAY
            at = {days: popularity.at(now) for days, popularity in sold.items()}
            yield Query(set(basket.tolist()), dataset.product[own], ages, at)
        for popularity in sold.values():
            popularity.sold(basket, now)
