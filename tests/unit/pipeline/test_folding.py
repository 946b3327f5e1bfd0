"""Which state a shopper's events are folded into."""

from typing import Any

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.user_state import UserState
from tests.unit.pipeline.fakes import LOG, FixedOwnership, Table
from worker.pipeline.folding import Folder
from worker.pipeline.work import Shopper, Work


def test_a_shopper_is_folded_into_the_state_that_is_not_stored_yet() -> None:
    ann, bob = UserState(), UserState()
    ann.reviews, bob.reviews = 3, 5
    table: Any = Table({0: {b"bob": user_state.encode(bob)}})
    work = Work({0: {key: Shopper(0, key) for key in (b"ann", b"bob", b"cid")}})
    unstored = {0: {b"ann": user_state.encode(ann)}, 1: {b"bob": b"another's"}}
    Folder({}, table, FixedOwnership()).fold(work, unstored)
    assert [shopper.state.reviews for shopper in work.shoppers] == [3, 5, 0]
    assert table.asked == [[b"bob", b"cid"]]


def test_who_has_a_damaged_state_starts_anew_behind_what_the_others_have_processed() -> None:
    class Assigned(FixedOwnership):
        def positions(self) -> dict[tuple[str, int], int]:
            return {("shop-purchases", 0): 8, ("shop-purchases", 1): 30}

    table: Any = Table({0: {b"ann": b"damaged"}})
    seen, new = (
        Interaction(Position(0, 0, offset, LOG), Kind.PURCHASE, 7, 100) for offset in (7, 8)
    )
    ann = Shopper(0, b"ann", [seen, new])
    Folder({"shop-purchases": "purchases"}, table, Assigned()).fold(Work({0: {b"ann": ann}}), {})
    assert ann.damaged == b"damaged" and not ann.is_new
    assert ann.state.purchases == 1 and ann.folded and ann.folded.repeats == 1
