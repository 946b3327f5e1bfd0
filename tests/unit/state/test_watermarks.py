"""Watermarks belong to a log.

What comes from a topic that was made anew is no repeat, and no version goes back.
"""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.core.events import WAYS, Interaction, Kind, Position, elsewhere
from pprm.core.ids import fingerprint, stable_hash
from pprm.state.fold import Folded, fold
from pprm.state.user_state import UserState, anew, decode, encode, follows
from pprm.state.watermarks import MAX_FINGERPRINTS, NO_MARK, RECORD

START = 1_500_000_000


def look(offset: int, log: int = 0, partition: int = 1, known_by: int = 0) -> Interaction:
    """A look of its own second and log."""
    position = Position(1, partition, offset, log)
    return Interaction(position, Kind.VIEW, 7, START + offset, fingerprint=known_by)


def looked(*events: Interaction, state: UserState | None = None) -> Folded:
    return fold(decode(encode(state or UserState())), events)


def test_records_of_a_topic_that_was_made_anew_are_no_repeats() -> None:
    before = looked(look(500, log=1)).state
    after = looked(*(look(offset, log=2) for offset in range(4)), state=before)
    assert after.repeats == 0 and len(after.state.interactions()) == 5
    assert looked(look(2, log=2), state=after.state).repeats == 1


def test_the_version_never_goes_back_when_a_topic_is_made_anew() -> None:
    state, versions = UserState(), [0]
    for log in (1, 2, 3):
        for offset in (0, 4, 90):
            state = looked(look(offset, log), state=state).state
            versions.append(state.version)
    assert versions == sorted(set(versions)) and state.version == RECORD * 3 * 91


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 9)),
        max_size=40,
    )
)
def test_whatever_is_read_no_version_goes_back(records: list[tuple[int, int, int, int]]) -> None:
    state = UserState()
    for source, partition, log, offset in records:
        event = Interaction(Position(source, partition, offset, log), Kind.VIEW, 7, START)
        after = looked(event, state=state)
        assert after.state.version > state.version or after.repeats, (
            "what was folded is seen in the version"
        )
        assert after.state.version >= state.version and follows(encode(after.state), encode(state))
        state = after.state


@pytest.mark.parametrize(("held", "came"), [(0, 5), (5, 0), (0, 0), (5, 5)])
def test_a_log_that_one_side_does_not_know_is_taken_for_the_same(held: int, came: int) -> None:
    state = looked(look(500, held)).state
    again = looked(look(500, came), state=state)
    assert again.repeats == 1 and looked(look(501, came), state=again.state).repeats == 0
    if held or came:
        assert looked(look(3, log=6), state=again.state).repeats == 0, (
            "the log that is known stays, or is learned"
        )


def test_a_state_made_without_knowing_the_one_held_does_not_follow_it() -> None:
    first = looked(look(5, log=1)).state
    old, new = looked(look(6, log=1), state=first).state, looked(look(0, log=2), state=first).state
    assert follows(encode(new), encode(first)) and follows(encode(old), encode(first))
    assert follows(encode(new), encode(old)) and not follows(encode(old), encode(new))
    bought = Interaction(Position(0, 1, 3), Kind.PURCHASE, 7, START)
    newer = fold(first, [bought]).state
    assert not follows(encode(old), encode(newer)), "it lacks the watermark of the purchase"


def test_a_state_begun_anew_knows_where_its_topics_are() -> None:
    state = anew([NO_MARK, (1, 4, 70), NO_MARK, NO_MARK])
    assert state.version == RECORD * 71 and looked(look(70, log=4), state=state).repeats == 1
    assert not looked(look(3, log=5), state=state).repeats


def test_an_event_published_twice_counts_once_and_moves_the_watermark() -> None:
    """Its second record has an offset of its own, so that no watermark stops it."""
    once = looked(look(1, known_by=9))
    twice = looked(look(2, known_by=9), state=once.state)
    assert (
        twice.without_effect == [(1, "duplicate")]
        and not twice.repeats
        and twice.state.version == RECORD * 3
    )
    assert twice.state.interactions().tolist() == once.state.interactions().tolist()
    assert not looked(look(3, known_by=8), state=twice.state).without_effect


def test_events_without_a_fingerprint_are_never_taken_for_repeats() -> None:
    """Those of a data set have no ids."""
    assert len(looked(*(look(offset) for offset in range(5))).state.interactions()) == 5


def test_the_last_events_of_each_topic_are_known_whatever_comes_on_the_others() -> None:
    first = Interaction(Position(0, 1, 0), Kind.PURCHASE, 7, START, fingerprint=1)
    again = Interaction(Position(0, 1, 1), Kind.PURCHASE, 7, START + 9, fingerprint=1)
    looks = [look(i, known_by=i + 1) for i in range(3 * MAX_FINGERPRINTS)]
    assert looked(first, *looks, again).without_effect == [(0, "duplicate")]
    oldest = looks[-MAX_FINGERPRINTS].fingerprint
    state = looked(*looks).state
    assert looked(look(1000, known_by=oldest), state=state).without_effect == [(1, "duplicate")]
    assert not looked(look(1000, known_by=oldest - 1), state=state).without_effect, (
        "what is older is forgotten"
    )
    assert len(state.fingerprints) == 4 * MAX_FINGERPRINTS


@given(st.lists(st.integers(1, 1 << 32 - 1) | st.integers(1, 5), max_size=200))
def test_a_fingerprint_is_found_wherever_it_lies_in_the_ring(known_by: list[int]) -> None:
    ring: list[int] = []
    found = looked(*(look(i, known_by=one) for i, one in enumerate(known_by))).without_effect
    repeats = 0
    for one in known_by:
        if one in ring[-MAX_FINGERPRINTS:]:
            repeats += 1
        else:
            ring.append(one)
    assert len(found) == repeats


def test_fingerprints_are_of_kind_id_and_product() -> None:
    """A shop may give all lines of an order one id; few of many get the same by chance."""
    tea, rye = stable_hash("tea"), stable_hash("rye")
    assert (
        len({fingerprint(0, "o1", tea), fingerprint(0, "o1", rye), fingerprint(3, "o1", tea)}) == 3
    )
    made: dict[int, int] = defaultdict(int)
    for number in range(200_000):
        made[fingerprint(0, f"order-{number}", tea)] += 1
    assert 0 not in made and len(made) >= 200_000 - 30, (
        "chance gives 5 of 200,000 a fingerprint that another has"
    )


@pytest.mark.parametrize("partitions", [(1, 4), (1, 8), tuple(range(1, 1 + WAYS))])
def test_records_of_any_other_partitions_count_once_however_many_come_again(
    partitions: tuple[int, ...],
) -> None:
    """More than the fingerprints remember, as after a worker's death while it re-keyed."""
    events = [
        Interaction(
            Position(elsewhere(1), partition, offset, 9), Kind.VIEW, 7, START + offset,
            fingerprint=1 + 1000 * partition + offset,
        )
        for offset in range(100)
        for partition in partitions
    ]  # fmt: skip
    once = looked(*events)
    again = looked(*events, state=once.state)
    assert once.repeats == 0 and again.repeats == len(events) and not again.without_effect
    assert again.state.version == once.state.version == RECORD * len(events)


def test_of_more_other_partitions_than_there_are_watermarks_the_version_still_only_grows() -> None:
    state, version = UserState(), 0
    for offset in range(5):
        for partition in range(1, 3 * WAYS):
            event = Interaction(Position(elsewhere(1), partition, offset, 9), Kind.VIEW, 7, START)
            state = looked(event, state=state).state
            assert state.version > version
            version = state.version
