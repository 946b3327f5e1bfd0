"""Which lists are made again unasked, why, and by which record."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import hash_of, stable_hash
from pprm.state.fold import Folded, fold
from pprm.state.user_state import DAY, UserState, publish
from pprm.state.visit import SESSION
from tests.unit.due_times import due, slot_of
from tests.unit.pipeline.fakes import lists_of
from tests.unit.pipeline.test_stream_time import batch
from worker.pipeline.codec import Trigger
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.past import Past
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Shopper, Unasked, Work

START = 1_500_000_000
"""The stream time of `batch(0)`."""
PERIOD = int(DAY)
MOVER = Trigger("refresh", "purchases", 0, 0, "e")


def catalogue(*sold: str, gone: tuple[str, ...] = ()) -> Catalogue:
    made = Catalogue(3)
    names = [*sold, *gone]
    products = [Product(name, name, "t", "c", "m", name in sold) for name in names]
    made.put(products, np.zeros((len(names), 3), np.float32))
    return made


def state(active_at: int, listed_at: int, *products: str) -> UserState:
    looked = Interaction(Position(1, 2, 70), Kind.VIEW, 7, active_at)
    return publish(fold(UserState(), [looked]).state, map(stable_hash, products), listed_at)


class Owner:
    """Who has partition 0, where shoppers have these states."""

    def __init__(
        self, states: Mapping[bytes, UserState], sold: Catalogue | None, **more: Any
    ) -> None:
        self.states, self.time = dict(states), StreamTime()
        self.lists: FreshLists = lists_of(self.time, **more)
        self.lists.own(0)
        self.lists.add_states(list(states), list(states.values()), 0)
        if sold:
            self.lists.catalogue_is_read(sold)

    def turn(self, most: int = 99) -> dict[bytes, Unasked]:
        """Who gets a list, and why."""
        work: Work = self.lists.take(most)
        for shopper in work.shoppers:
            shopper.folded = Folded(self.states.get(shopper.key, UserState()))
        self.lists.choose(work)
        return {shopper.key: shopper.unasked for shopper in work.shoppers if shopper.unasked}


YESTERDAY = START - 2 * PERIOD


def test_a_list_that_is_due_is_made_again_as_of_the_record_that_moved_the_time() -> None:
    owner = Owner({b"ann": state(YESTERDAY, YESTERDAY, "a")}, catalogue("a"))
    assert not owner.lists.is_any_due and owner.turn() == {}, "there is no time yet"
    owner.time.move(batch(0))
    assert owner.lists.is_any_due and owner.lists.waiting() == 1
    assert owner.turn() == {b"ann": Unasked(MOVER, START)}
    assert not owner.lists.is_any_due and owner.turn() == {}, "it is in hand"


def test_a_list_is_due_once_in_its_period_whoever_owns_it() -> None:
    slot = slot_of(hash_of(b"ann"), PERIOD)
    first = due(YESTERDAY, None, slot, PERIOD)
    for listed_at, wanted in ((YESTERDAY, first), (first, first + PERIOD)):
        held = state(YESTERDAY - 9 * PERIOD, listed_at, "a")
        owner = Owner({b"ann": held}, catalogue("a"))
        owner.time.move(batch(wanted - START - 1))
        assert owner.turn() == {}
        owner.time.move(batch(wanted - START))
        assert set(owner.turn()) == {b"ann"}


def test_when_the_visit_is_over_its_list_is_made_again() -> None:
    owner = Owner({b"ann": state(START, START, "a")}, catalogue("a"), session_minutes=10)
    owner.time.move(batch(599))
    assert owner.turn() == {}
    owner.time.move(batch(600))
    assert set(owner.turn()) == {b"ann"} and SESSION != 600


@pytest.mark.parametrize(
    "chosen",
    [{"refresh_hours": 0}, {"refresh_active_days": 1}, {"past": Past(datetime.now(UTC))}],
    ids=["off", "nobody came for so long", "the past is folded, not answered"],
)
def test_what_is_not_refreshed(chosen: dict[str, Any]) -> None:
    owner = Owner({b"ann": state(YESTERDAY, YESTERDAY, "a")}, catalogue("a"), **chosen)
    owner.time.move(batch(0))
    assert owner.turn() == {} and not owner.lists.is_any_due


RECORD = Trigger("retraction", "products", 1, 44)


def test_a_product_that_goes_leaves_the_lists_that_hold_it_by_its_record() -> None:
    sold = catalogue("a", "b")
    ann, bob = state(START, START, "b", "a"), state(START, START + 9, "b")
    owner = Owner({b"ann": ann, b"bob": bob}, sold)
    assert not owner.lists.is_any_due and owner.lists.retraction_waits == 0
    sold.withdraw(["a"])
    owner.lists.change({stable_hash("a"): RECORD}, [], {stable_hash("a")})
    assert owner.lists.is_any_due and owner.lists.retraction_waits > 0
    assert owner.turn() == {b"ann": Unasked(RECORD, START)}, "there is no time: as of its own"
    assert owner.turn() == {} and owner.lists.retraction_waits == 0


def test_a_retraction_is_as_of_the_partitions_time_and_waits_for_no_sleeper() -> None:
    sold = catalogue(gone=("a",))
    owner = Owner({b"ann": state(START - 900 * PERIOD, START - 900 * PERIOD, "a")}, None)
    owner.time.move(batch(0))
    owner.lists.change({stable_hash("a"): RECORD}, [], {stable_hash("a")})
    owner.lists.catalogue_is_read(sold)
    assert owner.turn() == {b"ann": Unasked(RECORD, START)}


def test_what_a_list_holds_that_nobody_knows_is_retracted_by_the_shoppers_last_record() -> None:
    held = state(START, START, "a", "never heard of")
    last = Trigger("retraction", "browses", 2, 70)
    assert Owner({b"ann": held}, catalogue("a")).turn() == {b"ann": Unasked(last, START)}
    taken_over_later = Owner({}, catalogue("a"))
    taken_over_later.states[b"ann"] = held
    taken_over_later.lists.own(0)
    taken_over_later.lists.add_states([b"ann"], [held], 0)
    taken_over_later.lists.look_for_withdrawn([0])
    assert taken_over_later.turn() == {b"ann": Unasked(last, START)}


def test_a_product_that_comes_back_before_the_turn_stays_in_its_lists() -> None:
    sold = catalogue("a")
    owner = Owner({b"ann": state(START, START, "a")}, sold)
    owner.lists.change({stable_hash("a"): RECORD}, [], {stable_hash("a")})
    owner.lists.change({}, [stable_hash("a")], set())
    assert owner.turn() == {} and not owner.lists.is_any_due
    owner.time.move(batch(3 * PERIOD))
    assert set(owner.turn()) == {b"ann"}, "it is refreshed when it is due"


def test_who_was_forgotten_or_cannot_be_read_leaves() -> None:
    owner = Owner({b"ann": state(YESTERDAY, YESTERDAY, "a")}, catalogue("a"))
    owner.time.move(batch(0))
    owner.states[b"ann"] = UserState()
    assert owner.turn() == {} and not owner.lists.is_any_due and owner.lists.waiting() == 0


def test_the_partitions_take_turns_and_those_that_are_gone_are_left_alone() -> None:
    owner = Owner({b"u%d" % n: state(YESTERDAY, YESTERDAY, "a") for n in range(3)}, catalogue("a"))
    others = {b"v%d" % n: state(YESTERDAY, YESTERDAY, "a") for n in range(3)}
    owner.states |= others
    owner.lists.own(1)
    owner.lists.add_states(list(others), list(others.values()), 1)
    owner.time.move(batch(0))
    owner.time.move(batch(0, partition=1))
    found = [{key[:1] for key in owner.turn(2)} for _ in range(3)]
    assert found == [{b"u"}, {b"v"}, {b"u", b"v"}]
    owner.lists.disown([1])
    assert owner.time.now(1) is None
    owner.lists.note([Shopper(1, b"v1", folded=Folded(others[b"v1"]))])
    assert not owner.lists.is_any_due
