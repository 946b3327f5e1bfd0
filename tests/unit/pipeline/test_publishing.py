"""What a micro-batch becomes before it is written."""

import asyncio
from types import SimpleNamespace

import pytest

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import UserState
from tests.unit.pipeline.fakes import Broker, FixedOwnership
from worker.ops.health import Health
from worker.pipeline.model import Model
from worker.pipeline.publishing import Publisher
from worker.pipeline.recommender import Ranked
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.work import Shopper, Work
from worker.runtime.delivery import NotOurs, Row, Rows
from worker.runtime.metadata import Topic
from worker.runtime.stream import MicroBatch
from worker.settings import Topics


def shopper(partition: int, key: bytes) -> Shopper:
    made = Shopper(
        partition, key, [Interaction(Position(0, partition, 7), Kind.VIEW, 1, 1_500_000_000)]
    )
    made.last = SimpleNamespace(), SimpleNamespace()  # type: ignore[assignment]
    made.folded = fold_into(UserState(), made.events)
    return made


def publisher(broker: Broker | None = None, *epochs: int) -> Publisher:
    """One whose dead letters have two partitions."""
    seen, ownership = SeenTopics(), FixedOwnership(*epochs, generation=5)
    seen.note({"dead-letters": Topic(1, 2)})
    return Publisher(
        Topics(), "changelog", {}, broker or Broker(), ownership, seen, Model(Health())
    )


def test_states_are_kept_by_partition_and_appended_with_the_generation() -> None:
    ann, bob = shopper(1, b"ann"), shopper(3, b"bob")
    work = Work({1: {b"ann": ann}, 3: {b"bob": bob}})
    publisher().encode(work)
    of_ann, of_bob = user_state.encode(ann.state), user_state.encode(bob.state)
    assert of_ann != of_bob and work.values == {1: {b"ann": of_ann}, 3: {b"bob": of_bob}}
    ((row,),) = work.rows["3"].values()
    assert list(work.rows["3"]) == [("changelog", 3)] and row == (
        b"bob",
        of_bob,
        [("generation", b"5")],
    )


def test_a_damaged_state_is_a_dead_letter_in_a_partition_that_the_topic_has() -> None:
    ann = shopper(3, b"ann")
    ann.damaged = b"damaged"
    work = Work({3: {b"ann": ann}})
    publisher().encode(work)
    ((letter,),) = [rows for tp, rows in work.rows["3"].items() if tp == ("dead-letters", 1)]
    assert letter.value == b"damaged"


ROWS: dict[str, Rows] = {
    "0": {("changelog", 0): [Row(b"ann", b"state")], ("recommendations", 0): [Row(b"ann", b"l")]},
    "1": {("changelog", 1): [Row(b"bob", b"state")]},
}
TURN = MicroBatch(1, {}, {}, 0.0)


def written(broker: Broker) -> list[set[str]]:
    """Topics of each write; those of one turn of the loop by their units."""
    return [{topic for topic, _ in rows} for _, rows in broker.written]


UNITS = [{"changelog", "recommendations"}, {"changelog"}]


def test_of_a_turn_all_lists_are_acknowledged_before_a_state_is_sent() -> None:
    """Else a crash in between loses a list that its state says was made."""
    broker = Broker()
    asyncio.run(publisher(broker).publish(TURN, ROWS))
    assert written(broker) == [{"recommendations"}, {"changelog"}, {"changelog"}]
    in_one = Broker(commits_offsets=True)
    asyncio.run(publisher(in_one).publish(TURN, ROWS))
    assert sorted(written(in_one), key=len, reverse=True) == UNITS
    answers = Broker()
    batch = MicroBatch(1, {("purchases", 0): []}, {}, 0.0)
    asyncio.run(publisher(answers).publish(batch, ROWS))
    assert sorted(written(answers), key=len, reverse=True) == UNITS


def test_a_turn_whose_partitions_go_between_its_lists_and_its_states_writes_no_state() -> None:
    broker = Broker()
    with pytest.raises(NotOurs):
        asyncio.run(publisher(broker, 1, 2).publish(TURN, ROWS))
    assert written(broker) == [{"recommendations"}]


def test_what_is_not_sent_is_stored_all_the_same() -> None:
    ann = shopper(0, b"ann")
    ann.ranked, ann.is_sent = Ranked([1], [("p", 0.5, [])]), False
    work = Work({0: {b"ann": ann}})
    publisher().encode(work)
    assert list(work.rows["0"]) == [("changelog", 0)]
