"""Compares each basket with the list before it, and with what a shop has without a model.

Pure. The baselines see everything strictly before the basket; the list was made after the
household's previous event, or since then, when it was a day old. That favours the baselines.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pprm.core.ids import stable_hash
from pprm.evaluation.baselines import PopularityBaseline
from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from pprm.evaluation.list_metrics import hit, ndcg
from pprm.serving.selection import top
from worker.demo.households import DemoVisit

WINDOWS = {"popularity_all_time": None, "popularity_28d": 28, "popularity": 7}
"""Days of each popularity."""
NAMES = {
    "top_frequency": "own frequency with popularity",
    "looked_at_last": "looked at last",
    "popularity": "7-day popularity",
    "popularity_28d": "28-day popularity",
    "popularity_all_time": "popularity of all time",
}
"""The baselines in words."""

Rows: TypeAlias = NDArray[np.int64]
"""Products as rows of the products that can be listed."""
Ranked: TypeAlias = Mapping[str, Rows]
"""What each baseline would recommend, best first."""


@dataclass(slots=True)
class Scores:
    """Sums over the baskets judged."""

    baskets: int = 0
    hit: float = 0.0
    pprm: float = 0.0
    others: dict[str, float] = field(default_factory=dict)
    """NDCG of the baselines."""

    def add(self, truth: set[int], listed: Rows, baselines: Ranked) -> None:
        """Judge one basket; `truth` has at least one product."""
        self.baskets += 1
        self.hit += hit(listed, truth)
        self.pprm += ndcg(listed, truth)
        for name, ranked in baselines.items():
            self.others[name] = self.others.get(name, 0.0) + ndcg(ranked, truth)

    def means(self) -> dict[str, float | int | None]:
        """Return the figures of the report; a mean over no basket is None."""
        others = {f"{name}_ndcg_at_10": value for name, value in self.others.items()}
        sums = {"hit_rate_at_10": self.hit, "ndcg_at_10": self.pprm} | others
        means = {
            name: round(value / self.baskets, 4) if self.baskets else None
            for name, value in sums.items()
        }
        return {"baskets": self.baskets} | means

    def better(self) -> list[str]:
        """Baselines, in words, that are at least as good as the lists."""
        return [
            title
            for name, title in NAMES.items()
            if self.baskets and self.others.get(name, -1.0) >= self.pprm
        ]


@dataclass(slots=True)
class Baselines:
    """What a shop has without a model, over what can be listed."""

    _row: Mapping[str, int]
    _visits: Sequence[DemoVisit]
    """All visits, later ones too, in time order: only those before the moment asked for count."""
    _windows: Mapping[str, PopularityBaseline]
    _own: PersonalTopFrequency
    _looks: dict[str, dict[int, int]] | None
    """Unix seconds of each shopper's last look at each row; None where nobody browses."""
    _seen: int = 0

    def rows(self, products: Iterable[str]) -> Rows:
        """Rows of products in their order, without those that cannot be listed."""
        return np.array(
            [self._row[product] for product in products if product in self._row], np.int64
        )

    def advance(self, now: int) -> None:
        """Take in everything strictly before `now` (Unix seconds, never smaller than before)."""
        while self._seen < len(self._visits) and self._visits[self._seen].time < now:
            self._take_in(self._visits[self._seen])
            self._seen += 1

    def _take_in(self, visit: DemoVisit) -> None:
        rows = self.rows(visit.products).astype(np.int32)
        if visit.is_basket:
            for popularity in self._windows.values():
                popularity.sold(rows, visit.time)
            self._own.bought(stable_hash(visit.household), rows, visit.time)
        elif self._looks is not None and visit.family == "browses":
            self._looks.setdefault(visit.household, {}).update(
                dict.fromkeys(rows.tolist(), visit.time)
            )

    def at(self, household: str, now: int) -> Ranked:
        """Rank for a household as of `now`; see `advance`."""
        self.advance(now)
        ranked = {name: top(popularity.at(now)) for name, popularity in self._windows.items()}
        ranked["top_frequency"] = top(self._own.of(stable_hash(household), now))
        if self._looks is not None:
            ranked["looked_at_last"] = top(self._looked(household, now))
        return ranked

    def _looked(self, household: str, now: int) -> NDArray[np.float64]:
        """Times of the last looks, and far below them popularity."""
        popularity = self._windows["popularity"].at(now)
        out = popularity.astype(np.float64) / (float(popularity.max(initial=0)) + 1)
        looks = (self._looks or {}).get(household, {})
        out[[*looks]] += [*looks.values()]
        return out


def baselines(
    products: Sequence[str],
    history: Mapping[str, Iterable[DemoVisit]],
    own: PersonalTopFrequency | None = None,
) -> Baselines:
    """Make the baselines for these products (ties: in their order) and all visits.

    `own` has the settings of the shoppers' own frequencies; simulated looks are not in `history`.
    """
    visits = sorted(chain.from_iterable(history.values()))
    windows = {name: PopularityBaseline(days) for name, days in WINDOWS.items()}
    own = own or PersonalTopFrequency()
    own.begin(len(products))
    for popularity in windows.values():
        popularity.begin(len(products))
    looks: dict[str, dict[int, int]] | None = (
        {} if any(visit.family == "browses" for visit in visits) else None
    )
    return Baselines(
        {product: row for row, product in enumerate(products)}, visits, windows, own, looks
    )
