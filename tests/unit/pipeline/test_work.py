from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from pprm.core.events import Interaction, Kind, Position, Profile, elsewhere
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from pprm.state.watermarks import RECORD
from worker.pipeline.codec import Decoded, Invalid
from worker.pipeline.work import Shopper, Work


def test_records_are_sorted_by_shopper_and_the_last_is_the_last() -> None:
    work = Work()
    records = [
        SimpleNamespace(key=key, offset=i) for i, key in enumerate((b"a", b"b", b"a", b"c", b"a"))
    ]
    decoded = [
        Invalid("json", "no JSON")
        if record.key == b"c"
        else Decoded(
            Interaction(Position(0, 3, i), Kind.PURCHASE, i, 100 - i), record.key.decode(), f"e{i}"
        )
        for i, record in enumerate(records)
    ]
    answered = list(zip(records, decoded, strict=True))
    work.receive(3, answered[:3])
    work.receive(3, answered[3:])
    a, b = work.shoppers
    assert (a.key, b.key, a.partition) == (b"a", b"b", 3)
    assert [event.position.offset for event in a.events] == [0, 2, 4] and a.newest == 100
    assert a.last == (records[4], decoded[4]) and b.last == (records[1], decoded[1])
    assert work.refused == [(3, records[3], decoded[3])]


def test_a_repeated_forget_does_not_withdraw_the_list_of_who_came_back() -> None:
    """A null on `users` comes to every partition, and again after a crash.

    Then the shopper may have events since.
    """
    forget, bought = (
        Profile(Position(7, 2, 5), 50, None),
        Interaction(Position(0, 3, 1), Kind.PURCHASE, 7, 100),
    )
    shopper = Shopper(3, b"ann")
    shopper.events = [forget]
    shopper.folded = fold(UserState(), [forget])
    assert shopper.forgotten
    shopper.folded = fold(UserState(), [forget, bought, forget])
    assert shopper.folded.repeats == 1 and shopper.folded.counted and not shopper.forgotten


@pytest.mark.parametrize(
    ("source", "listed", "known", "withdraws"),
    [
        (3, False, False, True),
        (7, False, False, False),
        (7, True, False, True),
        (7, False, True, True),
    ],
    ids=["direct", "elsewhere, no list", "elsewhere, a list", "elsewhere, again"],
)
def test_a_list_is_withdrawn_where_there_may_be_one(
    source: int, listed: bool, known: bool, withdraws: bool
) -> None:
    forget = Profile(Position(source, 2, 5), 50, None)
    shopper = Shopper(3, b"ann", [forget], listed=listed)
    shopper.folded = fold(fold(UserState(), [forget] if known else []).state, [forget])
    assert shopper.withdraws is withdraws


def test_what_comes_by_way_of_another_partition_counts_once() -> None:
    direct, event_id = Interaction(Position(0, 3, 7, 9), Kind.PURCHASE, 7, 100, basket=1), 5
    moved = [
        Interaction(
            Position(elsewhere(0), partition, offset, 9),
            Kind.PURCHASE,
            7,
            100 + offset,
            basket=offset,
        )
        for partition, offset in ((1, 4), (2, 2), (1, 5), (2, 3))
    ]
    folded = fold(UserState(), [direct, *moved, *moved[:2], moved[3], direct])
    assert (len(folded.counted), folded.repeats, folded.state.purchases) == (5, 4, 5)
    assert folded.state.version == RECORD * (8 + 6 + 4)
    once = [replace(event, fingerprint=event_id) for event in (direct, moved[0])]
    assert fold(UserState(), once).without_effect == [(elsewhere(0), "duplicate")]
