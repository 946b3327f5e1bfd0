"""What a micro-batch becomes before it is written, and what of the table can be read back."""

from types import SimpleNamespace
from typing import Any

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import UserState
from worker.pipeline import publishing
from worker.pipeline.context import Components
from worker.pipeline.work import Shopper, Work


def shopper(partition: int, key: bytes) -> Shopper:
    made = Shopper(
        partition, key, [Interaction(Position(0, partition, 7), Kind.VIEW, 1, 1_500_000_000)]
    )
    made.last = SimpleNamespace(), SimpleNamespace()  # type: ignore[assignment]
    made.folded = fold_into(UserState(), made.events)
    return made


def test_states_are_kept_by_partition_and_appended_with_the_generation() -> None:
    topics = SimpleNamespace(name=lambda family: family)
    components: Any = SimpleNamespace(
        settings=SimpleNamespace(topics=topics, changelog="changelog"),
        generation=5,
        unit=Components.unit,
        app=SimpleNamespace(delivery=SimpleNamespace(limits={})),
    )
    ann, bob = shopper(1, b"ann"), shopper(3, b"bob")
    work = Work({1: {b"ann": ann}, 3: {b"bob": bob}})
    publishing.encode(components, work)
    of_ann, of_bob = user_state.encode(ann.state), user_state.encode(bob.state)
    assert of_ann != of_bob and work.values == {1: {b"ann": of_ann}, 3: {b"bob": of_bob}}
    ((row,),) = work.rows["3"].values()
    assert list(work.rows["3"]) == [("changelog", 3)] and row == (
        b"bob",
        of_bob,
        [("generation", b"5")],
    )


def test_a_damaged_state_does_not_end_the_count_of_the_others() -> None:
    value = user_state.encode(shopper(0, b"ann").state)
    stored = {0: [(b"ann", value), (b"bob", b"damaged"), (b"cid", value)], 1: [(b"dan", value)]}
    components: Any = SimpleNamespace(
        table=SimpleNamespace(scan=lambda partition: stored[partition])
    )
    assert len(list(Components.states(components, [0, 1]))) == 3
