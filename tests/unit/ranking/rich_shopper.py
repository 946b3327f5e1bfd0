"""All features of a shopper who did everything, by the names of their columns, as JSON."""

import json

import numpy as np

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.catalogue.promotions import ALL_STORES, DISPLAY, FEATURE, MAILER
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.ranking.candidate_features import NAMES, CandidateFeatures
from pprm.ranking.factors import FACTORS
from pprm.ranking.hazard import BUCKETS
from pprm.ranking.item_regression import SOURCES
from pprm.ranking.slow_tables import SlowTables
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.features import SCALARS, groups, scalars
from pprm.state.fold import fold
from pprm.state.user_state import DAY, UserState

START = 17_000 * int(DAY)
NOW = START + 30 * int(DAY) + 7 * 3600
N = 8
RNG = np.random.default_rng(0)


def catalogue() -> Catalogue:
    """Eight products, promoted this week and the one before."""
    this_week = NOW - 3 * int(DAY), NOW + 3 * int(DAY)
    before = NOW - 9 * int(DAY), NOW - 4 * int(DAY)
    promotions = [
        [(*this_week, ALL_STORES, MAILER)],
        [(*this_week, 1, DISPLAY)],
        [(*this_week, 1, MAILER | FEATURE), (*before, 1, MAILER)],
        [(*before, 1, DISPLAY | MAILER)],
    ]
    made = Catalogue(2)
    made.put(
        [
            Product(f"p{i}", "", f"t{i % 4}", f"c{i % 2}", f"m{i % 3}", promotions=tuple(mine))
            for i, mine in enumerate(promotions + [[]] * (N - len(promotions)))
        ],
        np.zeros((N, 2), np.float32),
    )
    return made


def counts() -> Popularity:
    """A month of sales."""
    made = Popularity()
    made.add(
        Purchase(stable_hash(f"p{product}"), START + day * int(DAY), day % 3 == 0)
        for day in range(30)
        for product in range(N)
        for _ in range(int(RNG.integers(0, 2 + product)))
    )
    made.advance(NOW)
    return made


def tables(made: Catalogue) -> SlowTables:
    """Random ones."""
    types = np.sort(np.array([stable_hash(name) for name in made.types], np.uint64))
    sizes = (N, BUCKETS), (len(types), BUCKETS), (2, BUCKETS), (N, FACTORS), (N, SOURCES)
    hazards, by_type, rest, factors, weights = (
        RNG.normal(size=s).astype(np.float32) for s in sizes
    )
    sources = RNG.integers(0, N, (N, SOURCES)).astype(np.int32)
    return SlowTables(
        np.sort(made.hashes), types, hazards, by_type, rest, factors, sources, weights
    )


def state() -> UserState:
    """Twelve baskets, looks at some products, and a review."""
    events, looks = [], [Kind.VIEW, Kind.ADD_TO_CART, Kind.REMOVE_FROM_CART, Kind.VIEW]
    for basket in range(12):
        time = START + (basket * 2 + 5) * int(DAY) + basket * 1500
        for product in RNG.choice(3 + basket // 2, 1 + basket % 3, replace=False).tolist():
            events.append(
                Interaction(
                    Position(0, 0, len(events)), Kind.PURCHASE, stable_hash(f"p{product}"), time,
                    basket + 1, store=1, promotion=(0.5, 0.25),
                )
            )  # fmt: skip
    for i, kind in enumerate(looks):
        time = NOW - 7200 + i * 60
        at, looked = Position(1, 0, i), stable_hash(f"p{4 + i % 3}")
        events.append(Interaction(at, kind, looked, time, dwell=20.0 + i))
    review = Position(2, 0, 0), Kind.REVIEW, stable_hash("p1"), NOW - 9000
    events.append(Interaction(*review, sentiment=0.5))
    return fold(UserState(), events).state


def columns() -> dict[str, list[float]]:
    """Each column of all candidates, and each of the shopper's scalars."""
    made, bought = catalogue(), state()
    candidates = Candidates(
        np.arange(N), np.linspace(1, -1, N).astype(np.float32), groups(bought, made, NOW)
    )
    values = CandidateFeatures(made, counts()).of(bought, NOW, tables(made), candidates)
    shopper = zip(SCALARS, scalars(bought, NOW).tolist(), strict=True)
    return dict(zip(NAMES, values.T.tolist(), strict=True)) | {
        f"shopper.{name}": [value] for name, value in shopper
    }


if __name__ == "__main__":
    print(json.dumps(columns()))
