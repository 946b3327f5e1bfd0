"""What a micro-batch becomes before it is written."""

from types import SimpleNamespace

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import UserState
from tests.unit.pipeline.fakes import Broker, FixedOwnership
from worker.ops.health import Health
from worker.pipeline.model import Model
from worker.pipeline.publishing import Publisher
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.work import Shopper, Work
from worker.runtime.metadata import Topic
from worker.settings import Topics


def shopper(partition: int, key: bytes) -> Shopper:
    made = Shopper(
        partition, key, [Interaction(Position(0, partition, 7), Kind.VIEW, 1, 1_500_000_000)]
    )
    made.last = SimpleNamespace(), SimpleNamespace()  # type: ignore[assignment]
    made.folded = fold_into(UserState(), made.events)
    return made


def publisher() -> Publisher:
    """One whose dead letters have two partitions."""
    seen = SeenTopics()
    seen.note({"dead-letters": Topic(1, 2)})
    return Publisher(
        Topics(), "changelog", {}, Broker(), FixedOwnership(generation=5), seen, Model(Health())
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
