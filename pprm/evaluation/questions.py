"""Contenders for the other questions.

These are young shoppers, states that stand still, products that nobody bought before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.events import Kind
from pprm.data.dataset import Dataset
from pprm.data.plan import Plan, Split
from pprm.data.replay import Visit
from pprm.data.visits import young
from pprm.evaluation import protocol
from pprm.evaluation.baselines import PopularityBaseline
from pprm.evaluation.baselines.trivial import has_looks
from pprm.evaluation.contenders import AtVisit, rank
from pprm.evaluation.protocol import Contender, Outcome
from pprm.serving.scorer import Scorer
from pprm.state.user_state import UserState

YOUNG = (0, 1, 2, 4, 10, 30)
"""Purchases that are known of a shopper."""
FEWEST = 5
"""Purchases in the months judged, of a product nobody bought before them."""


def young_shoppers(scorer: Scorer) -> list[Contender]:
    """The model, if only the last so many purchases of each shopper were known."""
    return [AtVisit(f"PPRM, {n} purchases known", scorer, see=_last(n)) for n in YOUNG]


def _last(purchases: int) -> Callable[[Visit], UserState]:
    return lambda visit: young(visit.before, purchases)


@dataclass(slots=True)
class Frozen:
    """The model with every shopper's state as it was at a moment; what all buy is live."""

    name: str
    scorer: Scorer
    moment: int
    """Unix seconds."""
    _states: dict[int, UserState] = field(default_factory=dict)

    def learned_bytes(self) -> int:
        """See `protocol.Contender`."""
        return self.scorer.learned_bytes()

    def add(self, visit: Visit) -> None:
        """Keep the state, until the moment."""
        if visit.now < self.moment:
            self._states[visit.user] = visit.after

    def scores(self, visit: Visit) -> NDArray[np.float32]:
        """See `protocol.Contender`."""
        return rank(self.scorer, self._states.get(visit.user, visit.before), visit.now)


def frozen(scorer: Scorer, plan: Plan) -> list[Contender]:
    """What updating the states event by event is worth."""
    return [Frozen("PPRM, states frozen when the test begins", scorer, plan.test.begin)]


def without_looks(visit: Visit) -> UserState:
    """The state before a visit, as if nobody had seen what the shopper looked at."""
    state = visit.before
    bought = state.interactions()[state.interactions()["kind"] == Kind.PURCHASE]
    return replace(
        state,
        sequence=bought.tobytes(),
        browsed_keys=b"",
        browsed_at=b"",
        look_places=b"",
        looks=b"",
    )


def of_browsing(scorer: Scorer) -> list[Contender]:
    """What looks are worth where there are any: taken away from the model."""
    return [AtVisit("PPRM, looks hidden", scorer, see=without_looks)]


def without_sentiment(visit: Visit) -> UserState:
    """The state before a visit, as if nobody had read what the shopper thinks."""
    return replace(visit.before, sentiment=0.0, reviews=0.0)


def of_reviews(scorer: Scorer) -> list[Contender]:
    """What the sentiment of reviews is worth where there are any: taken away from the model."""
    return [AtVisit("PPRM, review sentiment hidden", scorer, see=without_sentiment)]


def of_events(scorer: Scorer, dataset: Dataset) -> list[Contender]:
    """What events that are no purchases are worth, of the kinds that the dataset has."""
    browsing = of_browsing(scorer) if has_looks(dataset) else []
    reviewed = dataset.kind is not None and bool((dataset.kind == Kind.REVIEW).any())
    return browsing + (of_reviews(scorer) if reviewed else [])


@dataclass(slots=True)
class TypeFrequency:
    """How often the shopper bought of a product's type."""

    catalogue: Catalogue
    name: str = "own frequency of the type"

    def learned_bytes(self) -> int:
        """See `protocol.Contender`."""
        return 0

    def add(self, visit: Visit) -> None:
        """Nothing to keep: the state is the visit's."""

    def scores(self, visit: Visit) -> NDArray[np.float64]:
        """See `protocol.Contender`."""
        rows = self.catalogue.rows(visit.before.product_keys())
        counts = visit.before.product_counters()["count"]
        by_type = np.bincount(self.catalogue.type[rows], counts, len(self.catalogue.types)).astype(
            np.float64
        )
        return by_type[self.catalogue.type]


def unseen(
    dataset: Dataset,
    catalogue: Catalogue,
    plan: Plan,
    make_scorer: Callable[[Catalogue, Popularity], Scorer],
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Rank products that nobody bought before the visits judged, among themselves."""
    begin, end = plan.until, plan.test.end
    before = np.bincount(dataset.product[dataset.time < begin], minlength=len(catalogue))
    after = np.bincount(
        dataset.product[(dataset.time >= begin) & (dataset.time < end)], minlength=len(catalogue)
    )
    new, popularity = catalogue.only((before == 0) & (after >= FEWEST)), Popularity()
    scorer, week = make_scorer(new, popularity), PopularityBaseline(7)
    week.learn(dataset, new, begin)
    contenders: list[Contender] = [
        AtVisit("PPRM", scorer), AtVisit("PPRM, first stage", scorer, ranks=False),
        TypeFrequency(new),
        week,
    ]  # fmt: skip
    splits = {"validation": Split(begin, begin, 0), "test": Split(begin, end, 1_000_000)}
    return protocol.run(dataset, new, popularity, contenders, splits, progress)
