import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pprm.events import Interaction, Kind, Position
from pprm.fold import fold
from pprm.popularity import Popularity
from pprm.user_state import UserState

DAY = 86_400
START = 17_000 * DAY
PURCHASES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 60)), max_size=60)


def states_of(purchases: list[tuple[int, int, int]]) -> tuple[list[UserState], list[Interaction]]:
    """Each shopper's state, and all purchases that were counted."""
    states, counted = {}, []
    for number, (user, product, day) in enumerate(purchases):
        event = Interaction(Position(0, 0, number), Kind.PURCHASE, product, START + day * DAY, number + 1)
        folded = fold(states.get(user, UserState()), [event])
        states[user] = folded.state
        counted += folded.counted
    return list(states.values()), counted


@given(PURCHASES)
def test_a_rebuild_from_the_states_equals_counting_along(purchases: list[tuple[int, int, int]]) -> None:
    states, counted = states_of(purchases)
    along, rebuilt = Popularity(), Popularity()
    along.add((event.product, event.time) for event in counted)
    for state in states:
        rebuilt.add_state(state)
    products = np.arange(1, 10, dtype=np.uint64)
    for popularity in (along, rebuilt):
        popularity.advance(START + 61 * DAY)
    assert np.isfinite(rebuilt.features(products)).all()
    assert np.allclose(along.features(products), rebuilt.features(products), atol=1e-6)


@given(PURCHASES, st.integers(0, 60))
def test_decayed_counters_equal_a_recount(purchases: list[tuple[int, int, int]], today: int) -> None:
    popularity = Popularity()
    popularity.advance(START + today * DAY)
    popularity.add((product, START + day * DAY) for _, product, day in purchases)
    products = np.arange(1, 10, dtype=np.uint64)
    known = [(product, today - day) for _, product, day in purchases if day < today]
    week = np.array([sum(2 ** (-age / 7) for p, age in known if p == product) for product in range(1, 10)]) * np.log(2)
    count = np.array([sum(p == product for p, _ in known) for product in range(1, 10)])
    features = popularity.features(products)
    assert np.allclose(features[:, 0], np.log1p(week) / 4, atol=1e-6)
    assert np.allclose(features[:, 2], np.log1p(count) / 6, atol=1e-6)


def test_purchases_of_today_show_tomorrow() -> None:
    popularity, product = Popularity(), np.array([7], np.uint64)
    popularity.advance(START)
    popularity.add([(7, START + 3600)])
    assert not popularity.advance(START + 7200) and not popularity.features(product).any()
    assert popularity.advance(START + DAY) and popularity.features(product)[0, 0] > 0


def test_time_never_goes_back_and_late_purchases_count() -> None:
    popularity, product = Popularity(), np.array([7], np.uint64)
    popularity.advance(START + 10 * DAY)
    assert not popularity.advance(START)
    popularity.add([(7, START)])
    assert popularity.features(product)[0, 2] > 0


def test_products_nobody_bought_have_no_popularity() -> None:
    assert not Popularity().features(np.array([1, 2], np.uint64)).any()
