"""What ranking reads against plain recounts of the raw events.

And no look into the future.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.catalogue.promotions import MAILER
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.data.replay import replay
from pprm.ranking import slow_tables
from pprm.ranking.candidate_features import COLUMNS, LAYOUT, NAMES, RETRIEVAL, CandidateFeatures
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.features import groups
from pprm.state.fold import fold
from pprm.state.user_state import DAY, UserState
from tests.unit.small_shop import Encoder, dataset

START = 17_000 * int(DAY)
N = 12


def catalogue_of() -> Catalogue:
    made = Catalogue(2)
    made.put(
        [Product(f"p{i}", "", f"t{i % 4}", f"c{i % 2}", f"m{i % 3}") for i in range(N)],
        np.zeros((N, 2), np.float32),
    )
    return made


CATALOGUE = catalogue_of()
NONE = slow_tables.nothing()


def candidates_of(
    state: UserState, now: float, rows: np.ndarray, logits: np.ndarray, catalogue: Catalogue
) -> Candidates:
    return Candidates(rows, logits, groups(state, catalogue, now))


def features_of(state: UserState, now: float, rows: np.ndarray | None = None) -> np.ndarray:
    rows = np.arange(N) if rows is None else rows
    logits = np.linspace(1, -1, len(rows)).astype(np.float32)
    return CandidateFeatures(CATALOGUE, Popularity()).of(
        state, now, NONE, candidates_of(state, now, rows, logits, CATALOGUE)
    )


def column(values: np.ndarray, group: str, name: str) -> np.ndarray:
    return values[:, LAYOUT.at(group, name)[0]]


HISTORIES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(0, N - 1), min_size=1, max_size=4)),
    max_size=90,
)


def shopper(
    history: list[tuple[int, list[int]]],
) -> tuple[UserState, list[tuple[int, set[int]]], int]:
    """State, baskets (time, products), and a moment two days and an hour later."""
    events, baskets, time = [], [], START
    for days, products in history:
        time += days * int(DAY) + 5 * 3600 + 60
        baskets.append((time, set(products)))
        for product in products:
            hashed = stable_hash(f"p{product}")
            events.append(
                Interaction(
                    Position(0, 0, len(events)),
                    Kind.PURCHASE,
                    hashed,
                    time,
                    len(baskets),
                    store=1 + product % 2,
                )
            )
    return fold(UserState(), events).state, baskets[-64:], time + 2 * int(DAY) + 3600


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_patterns_equal_a_recount_of_the_last_baskets(history: list[tuple[int, list[int]]]) -> None:
    state, baskets, now = shopper(history)
    values = features_of(state, now)
    for group, members in (
        ("pattern", {i: {i} for i in range(N)}),
        ("type_pattern", {i: set(range(i % 4, N, 4)) for i in range(N)}),
    ):  # fmt: skip
        prefix = "type_" if group == "type_pattern" else ""
        for row, mine in members.items():
            ages = [at for at, (_, products) in enumerate(reversed(baskets)) if products & mine]
            if not ages:
                assert not values[row, COLUMNS[group]].any()
                continue
            times = [baskets[-1 - at][0] for at in ages]
            gaps = [(a - b) / DAY for a, b in pairwise(times)]
            get = lambda name, row=row: float(column(values, group, prefix + name)[row])  # noqa: B023, E731
            assert [get(n) for n in ("in_last", "in_2nd_last", "in_3rd_last", "in_4th_last")] == [
                at in ages for at in range(4)
            ]
            assert [get(f"of_{n}") for n in (5, 10, 20)] == [
                sum(at < n for at in ages) for n in (5, 10, 20)
            ]
            weekday = sum(t // int(DAY) % 7 == now // int(DAY) % 7 for t in times)
            assert np.isclose(get("same_weekday"), (weekday + 0.3) / (len(ages) + 2))
            assert np.isclose(get("baskets_since"), np.log1p(ages[0]))
            if len(ages) > 1:
                mean = max(sum(gaps) / len(gaps), 0.3)
                variance = max(sum(g * g for g in gaps) / len(gaps) - mean**2, 0)
                assert np.isclose(get("gap_variation"), min(variance**0.5 / mean, 5), atol=2e-3)
                assert np.isclose(get("log_mean_gap"), np.log(mean), atol=1e-4)
                since = (now - times[0]) / DAY
                assert np.isclose(
                    get("gap_to_last_gap"), min(since / max(gaps[0], 0.5), 6), atol=1e-3
                )
                assert np.isclose(
                    get("due_in_baskets"),
                    min((ages[0] + 1) / max((ages[-1] - ages[0]) / len(gaps), 1), 5),
                )
            else:
                assert get("repeated") == get("log_mean_gap") == 0


@settings(max_examples=40, deadline=None)
@given(HISTORIES)
def test_substitutes_are_the_baskets_and_purchases_of_the_type(
    history: list[tuple[int, list[int]]],
) -> None:
    state, baskets, now = shopper(history)
    values = features_of(state, now)
    ever = _all_baskets(history)
    for row in range(N):
        mine = [at for at, (_, products) in enumerate(reversed(baskets)) if row in products]
        same = set(range(row % 4, N, 4))
        since = (
            sum(bool(products & same) for _, products in list(reversed(baskets))[: mine[0]])
            if mine
            else 0
        )
        if mine or not any(row in products for _, products in ever):
            assert np.isclose(
                column(values, "substitution", "type_baskets_since")[row], np.log1p(since)
            )
        for days in (28, 112):
            bought = {
                i: sum(2 ** (-(now - t) / DAY / days) for t, p in ever if i in p) for i in same
            }
            wanted = bought[row] / (sum(bought.values()) + 0.1)
            assert np.isclose(
                column(values, "substitution", f"share_{days}")[row], wanted, atol=1e-3
            )


def _all_baskets(history: list[tuple[int, list[int]]]) -> list[tuple[int, set[int]]]:
    time, baskets = START, []
    for days, products in history:
        time += days * int(DAY) + 5 * 3600 + 60
        baskets.append((time, set(products)))
    return baskets


@given(HISTORIES)
@settings(max_examples=30, deadline=None)
def test_everything_is_finite_and_the_moment_is_right(history: list[tuple[int, list[int]]]) -> None:
    state, baskets, now = shopper(history)
    values = features_of(state, now)
    assert values.shape == (N, len(NAMES)) and np.isfinite(values).all()
    moment = values[0, COLUMNS["moment"]]
    within = [sum(now - time < days * DAY for time, _ in baskets) for days in (7, 28)]
    assert moment[5:7].tolist() == within
    assert moment[4] == (len(baskets[-1][1]) if baskets else 0)
    lately = set().union(*(products for _, products in baskets[-5:]))
    before = (
        set().union(*(products for _, products in baskets[:-5])) if len(history) <= 64 else set()
    )
    if len(history) <= 64 and lately:
        assert np.isclose(moment[7], len(lately - before) / len(lately))


def test_ranks_are_within_type_and_category() -> None:
    values = features_of(UserState(), START)
    assert np.allclose(column(values, RETRIEVAL.name, "log_rank"), np.log1p(np.arange(N)))
    assert np.allclose(
        column(values, RETRIEVAL.name, "log_rank_in_type"), np.log1p(np.arange(N) // 4)
    )
    assert np.allclose(
        column(values, RETRIEVAL.name, "log_rank_in_category"), np.log1p(np.arange(N) // 2)
    )
    probability = 1 / (1 + np.exp(-np.linspace(1, -1, N)))
    mass = np.array([probability[i % 4 :: 4].sum() for i in range(N)])
    assert np.allclose(
        column(values, RETRIEVAL.name, "share_of_type"), probability / mass, atol=1e-5
    )


def test_some_of_the_candidates_have_what_all_give_them() -> None:
    state, _, now = shopper([(1, [1, 2]), (3, [2, 5])])
    logits = np.linspace(1, -1, N).astype(np.float32)
    features = CandidateFeatures(CATALOGUE, Popularity())
    keep = np.array([2, 7])
    candidates = candidates_of(state, now, np.arange(N), logits, CATALOGUE)
    some = features.of(state, now, NONE, candidates, keep)
    assert np.array_equal(some, features.of(state, now, NONE, candidates)[keep])


def test_what_was_looked_at_counts_for_product_type_and_maker() -> None:
    looked = stable_hash("p5")
    looks = [
        Interaction(Position(1, 0, i), Kind.VIEW, looked, START + i * 60, dwell=30)
        for i in range(3)
    ]
    looks.append(Interaction(Position(1, 0, 9), Kind.ADD_TO_CART, looked, START + 180))
    values = features_of(fold(UserState(), looks).state, START + 180)
    seen = column(values, "browse", "session")
    assert seen[5] > np.log1p(2.5) and not np.delete(seen, 5).any()
    assert np.isclose(column(values, "browse", "cart")[5], np.log(2))
    assert np.flatnonzero(column(values, "browse", "type_week")).tolist() == [1, 5, 9]
    assert np.flatnonzero(column(values, "browse", "maker_week")).tolist() == [2, 5, 8, 11]


def test_promotions_at_the_usual_store_and_the_shoppers_own_affinity() -> None:
    catalogue = catalogue_of()
    catalogue.promotions.put(3, [(START, START + 7 * int(DAY), 2, MAILER)])
    bought = [
        Interaction(
            Position(0, 0, i),
            Kind.PURCHASE,
            77 + i,
            START + i,
            i + 1,
            store=2 - (i == 1),
            promotion=(1.0, 0.0),
        )
        for i in range(3)
    ]
    state = fold(UserState(), bought).state
    values = CandidateFeatures(catalogue, Popularity()).of(
        state,
        START,
        NONE,
        candidates_of(state, START, np.arange(N), np.zeros(N, np.float32), catalogue),
    )
    assert np.flatnonzero(column(values, "promotion", "store_mailer")).tolist() == [3]
    assert (column(values, "promotion", "own_mailer") == 1).all()


def test_first_buyers_and_the_last_days_are_popularity_of_their_own() -> None:
    popularity = Popularity()
    popularity.advance(START)
    popularity.add(
        [Purchase(stable_hash("p1"), START - 3600, True)] * 5
        + [Purchase(stable_hash("p2"), START - 3600)] * 5
    )
    values = CandidateFeatures(CATALOGUE, popularity).of(
        UserState(),
        START,
        NONE,
        candidates_of(UserState(), START, np.arange(N), np.zeros(N, np.float32), CATALOGUE),
    )
    assert np.flatnonzero(column(values, "trial", "first_week")).tolist() == [1]
    assert np.isclose(column(values, "trial", "buyers")[1], np.log(6))
    assert np.flatnonzero(column(values, "fast", "day")).tolist() == [1, 2]


def test_shoppers_of_many_days_in_turn_share_what_popularity_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalogue, popularity, summed = catalogue_of(), Popularity(), []
    catalogue.promotions.put(3, [(START, START + int(DAY), 0, MAILER)])
    popularity.advance(START)
    popularity.add([Purchase(stable_hash("p1"), START - 3600, True)])
    plain = popularity.counters
    monkeypatch.setattr(
        popularity, "counters", lambda products: summed.append(1) or plain(products)
    )
    shared, days = CandidateFeatures(catalogue, popularity), [START, START - int(DAY), START]

    def values(made: CandidateFeatures, now: int) -> np.ndarray:
        state, rows = UserState(), np.arange(len(catalogue))
        return made.of(
            state,
            now,
            NONE,
            candidates_of(state, now, rows, np.zeros(len(rows), np.float32), catalogue),
        )

    found = [values(shared, now) for now in days]
    assert len(summed) == 1
    assert all(
        np.array_equal(a, values(CandidateFeatures(catalogue, popularity), now))
        for a, now in zip(found, days, strict=True)
    )
    assert [column(each, "promotion", "mailer")[3] for each in found] == [1, 0, 1]
    popularity.add([Purchase(stable_hash("p2"), START, True)])
    popularity.advance(later := START + int(DAY))  # now it counts
    assert np.flatnonzero(column(values(shared, later), "trial", "first_week")).tolist() == [1, 2]
    catalogue.put([Product("late", "", "t0", "c0", "m0")], np.zeros((1, 2), np.float32))
    assert len(values(shared, later)) == N + 1


@pytest.mark.parametrize("visits", [400])
def test_the_future_changes_nothing(visits: int) -> None:
    """The whole stream and one that ends early give the same numbers up to there."""
    seen: list[dict[int, bytes]] = []
    for shop in (dataset(), dataset(visits=visits)):
        catalogue, popularity = Catalogue(Encoder.dimensions), Popularity()
        products = [product.to_catalogue() for product in shop.products]
        catalogue.put(products, Encoder().encode([product.text for product in products]))
        tables = slow_tables.learn(
            dataset(visits=200), catalogue, int(dataset(visits=200).time[-1])
        )
        features, found = CandidateFeatures(catalogue, popularity), defaultdict(bytes)
        for visit in replay(shop, catalogue, popularity, int(dataset(visits=visits).time[-1]) + 1):
            if visit.number > 300:
                rows = np.arange(0, 60, 3)
                candidates = candidates_of(
                    visit.before, visit.now, rows, rows.astype(np.float32), catalogue
                )
                inputs = features.of(visit.before, visit.now, tables, candidates)
                found[visit.number] = inputs.tobytes()
        seen.append(found)
    assert seen[0] == seen[1] and len(seen[0]) == visits - 301
