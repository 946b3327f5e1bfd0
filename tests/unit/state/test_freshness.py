"""When a list is due again, by plain rules."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pprm.core.events import Event, Interaction, Kind, Position
from pprm.core.ids import hash_of, stable_hash
from pprm.state.fold import fold
from pprm.state.freshness import NEVER, all_due
from pprm.state.user_state import UserState, publish
from pprm.state.visit import SESSION, under_way
from tests.unit.due_times import due, slot_of
from tests.unit.state.test_fold import histories

DAY = 86_400
START = 1_500_000_000


def test_a_list_is_due_at_the_shoppers_next_slot_or_when_the_visit_is_over() -> None:
    assert due(10 * DAY, None, 100, DAY) == 10 * DAY + 100
    assert due(10 * DAY + 100, None, 100, DAY) == 11 * DAY + 100, "not twice in its slot"
    assert due(10 * DAY + 101, None, 100, DAY) == 11 * DAY + 100
    assert due(10 * DAY, 10 * DAY + 900, 100, DAY) == 10 * DAY + 900
    assert due(10 * DAY, 10 * DAY, 100, DAY) == 10 * DAY + 100, "that visit is over"


@given(st.integers(1, 2**31), st.integers(0, 2**64 - 1), st.integers(1, 8 * DAY))
def test_the_slot_is_the_first_after_the_list_at_which_the_period_comes_round(
    listed_at: int, user: int, period: int
) -> None:
    slot = slot_of(user, period)
    found = due(listed_at, None, slot, period)
    assert listed_at < found <= listed_at + period and found % period == slot


def test_shoppers_are_spread_over_the_day() -> None:
    hours = np.array([slot_of(hash_of(b"u%d" % n), DAY) // 3600 for n in range(24_000)])
    counts = np.bincount(hours, minlength=24)
    assert counts.min() > 850 and counts.max() < 1150


def test_the_hash_of_a_key_is_that_of_the_id() -> None:
    assert hash_of("é".encode()) == stable_hash("é")


@given(
    st.lists(st.tuples(histories(), st.integers(-5, 40_000)), max_size=5),
    st.sampled_from([3600, DAY]),
    st.sampled_from([600, SESSION]),
)
def test_the_due_times_of_many_are_those_of_each(
    shoppers: list[tuple[list[Event], int]], period: int, session: int
) -> None:
    """The visit is the one that the state was in when the list was made."""
    states, wanted, users = [], [], []
    for number, (events, after) in enumerate(shoppers):
        state, user = fold(UserState(), events).state, hash_of(b"u%d" % number)
        state = publish(state, [1, 2], max(state.active_at + after, 1))
        visit = under_way(state, state.listed_at, session)
        ends = visit.ends if visit else None
        wanted.append(due(state.listed_at, ends, slot_of(user, period), period))
        states.append(state)
        users.append(user)
    found = all_due(states, np.array(users, np.uint64), period, session)
    assert found.tolist() == wanted
    assert set(all_due(states, np.array(users, np.uint64), 0).tolist()) <= {NEVER}


def test_where_there_is_no_list_none_is_due() -> None:
    bought = Interaction(Position(0, 0, 0), Kind.PURCHASE, 7, START)
    states = [UserState(), fold(UserState(), [bought]).state]
    assert all_due(states, np.array([1, 2], np.uint64), DAY).tolist() == [NEVER, NEVER]
