"""The arrays against a plain dict of states."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import hash_of
from pprm.state.fold import fold
from pprm.state.freshness import NEVER
from pprm.state.user_state import UserState, publish
from pprm.state.visit import SESSION, under_way
from tests.unit.due_times import due, slot_of
from worker.pipeline.lists_in_force import RECALLED, ListsInForce

DAY = 86_400
START = 1_500_000_000
K = 3


def shopper(active_at: int, listed_at: int, products: list[int]) -> UserState:
    looked = Interaction(Position(1, 0, 0), Kind.VIEW, 7, active_at)
    return publish(fold(UserState(), [looked]).state, products, listed_at)


def due_of(key: bytes, state: UserState) -> int:
    """By the rules of `pprm.state.freshness`, for one."""
    if not state.listed_at:
        return NEVER
    visit = under_way(state, state.listed_at)
    return due(state.listed_at, visit.ends if visit else None, slot_of(hash_of(key), DAY), DAY)


states = st.builds(
    shopper,
    st.integers(START, START + 3 * DAY),
    st.integers(START, START + 3 * DAY),
    st.lists(st.integers(1, 9), max_size=K, unique=True),
) | st.just(UserState())
batches = st.lists(
    st.dictionaries(st.sampled_from([b"u%d" % n for n in range(9)]), states, max_size=5), max_size=6
)


@given(batches, st.integers(START, START + 9 * DAY), st.integers(1, 20), st.integers(0, 4 * DAY))
def test_what_is_due_is_what_a_dict_of_states_says(
    noted: list[dict[bytes, UserState]], now: int, most: int, days: int
) -> None:
    lists, held = ListsInForce(K, DAY, SESSION), dict[bytes, UserState]()
    for batch in noted:
        lists.note(list(batch), list(batch.values()))
        held |= batch
    waits = {key: at for key, state in held.items() if (at := due_of(key, state)) <= now}
    assert lists.waiting(now) == len(waits)
    awake = {key: at for key, at in waits.items() if held[key].active_at >= START + days}
    assert lists.earliest <= min(waits.values(), default=NEVER)
    found = lists.due(now, START + days, most)
    assert len(found) == len(set(found)) == min(most, len(awake))
    assert [awake[key] for key in found] == sorted(awake.values())[:most]
    assert lists.waiting(now) == len(awake) - len(found), "who sleeps waits for nothing"
    left = [at for key, at in ((key, due_of(key, state)) for key, state in held.items())
            if key not in found and not (at <= now and key not in awake)]  # fmt: skip
    assert lists.earliest == min(left, default=NEVER)
    lists.note(found, [held[key] for key in found])
    assert lists.waiting(now) == len(awake), "its state says when it is due again"
    assert len(lists) == len(held)


@given(batches, st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_what_holds_a_product_is_due_at_once_whoever_sleeps(
    noted: list[dict[bytes, UserState]], gone: set[int], available: set[int]
) -> None:
    held: dict[bytes, UserState] = {}
    first, second = ListsInForce(K, DAY, SESSION), ListsInForce(K, DAY, SESSION)
    for batch in noted:
        held |= batch
        for lists in (first, second):
            lists.note(list(batch), list(batch.values()))
    listed = {key: set(state.published_list().tolist()) for key, state in held.items()}
    holders = {key for key, products in listed.items() if products & gone}
    assert first.recall(np.array(sorted(gone), np.uint64)) == len(holders) == first.recalled
    assert set(first.due(RECALLED, START + 99 * DAY, 99)) == holders
    doubtful = {key for key, products in listed.items() if products - (available - gone)}
    counts = second.recall_all_but(
        np.array(sorted(available), np.uint64), np.array(sorted(gone), np.uint64)
    )
    assert counts == len(doubtful) and set(second.due(RECALLED, 0, 99)) == doubtful
    first.note(list(held), list(held.values()))
    assert not first.recalled, "its state says what becomes of it"


def test_only_a_list_that_was_made_here_is_known() -> None:
    lists, ann = ListsInForce(K, DAY, SESSION), shopper(START, START, [1])
    lists.note([b"ann", b"bob"], [ann, ann], is_known=False)
    lists.note([b"bob"], [ann])
    assert lists.known([b"ann", b"bob", b"cid"]).tolist() == [False, True, False]


def test_a_list_of_a_hundred_and_more_shoppers_than_there_is_room_for() -> None:
    lists = ListsInForce(100, DAY, SESSION)
    for start in range(0, 5000, 500):
        keys = [b"shopper-%d" % n for n in range(start, start + 500)]
        lists.note(keys, [shopper(START, START + DAY, [n, *range(9000, 9099)])
                          for n in range(start, start + 500)])  # fmt: skip
    assert len(lists) == 5000 and lists.recall(np.array([4321], np.uint64)) == 1
    assert lists.due(RECALLED, 0, 9) == [b"shopper-4321"]
    assert lists.recall(np.array([9042], np.uint64)) == 5000


@settings(max_examples=20)
@given(st.integers(0, 2**63), st.integers(1, 2**31))
def test_by_chance_a_list_is_looked_at_that_need_not_be_never_the_other_way(
    product: int, more: int
) -> None:
    lists, like = ListsInForce(K, DAY, SESSION), product % 2**32 + more * 2**32
    lists.note([b"ann"], [shopper(START, START, [like])])
    assert lists.recall(np.array([product], np.uint64)) == 1
