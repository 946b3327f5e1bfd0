"""States that the version before wrote are read as those of today: nobody's history is lost by an upgrade."""

import base64
import math
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given

from pprm.events import Event, Interaction, Kind, Position, Profile
from pprm.fold import fold
from pprm.user_state import StateError, UserState, decode, encode, follows, publish
from tests.unit.test_fold import START, histories

HEADER, HEADER_3 = struct.Struct("<BBHHHHHHHHQIIIIIIddddddd"), struct.Struct("<BBHHHHHHHQIIIIIIddddddd")
LOOKS = 9
"""Place among the header's fields of how many products' looks are held."""
EVENTS: list[Event] = [
    Interaction(Position(0, 1, 0), Kind.PURCHASE, 11, START, 5, store=9),
    Interaction(Position(0, 1, 1), Kind.PURCHASE, 12, START, 5),
    Interaction(Position(0, 1, 2), Kind.PURCHASE, 11, START + 86_400, 6, promotion=(0.5, 0.25)),
    Interaction(Position(1, 1, 0), Kind.VIEW, 21, START + 90_000),
    Interaction(Position(1, 1, 1), Kind.VIEW, 22, START + 90_100, dwell=30.0),
    Interaction(Position(1, 1, 2), Kind.ADD_TO_CART, 21, START + 90_200),
    Interaction(Position(1, 1, 3), Kind.SEARCH_CLICK, 23, START + 90_300),
    Interaction(Position(2, 1, 0), Kind.REVIEW, 11, START + 95_000, sentiment=0.5),
    Profile(Position(3, 1, 0), START + 96_000, "somebody"),
]
WRITTEN = base64.b85decode(
    "0{{pB0ssO40{{X52mk>91^@s6000000{{R30ssI20551+fPiUP0H$eK7@}!eLSB^Q*qi@9V6Om~y5|2s00000007`W00000008hm"
    "00000008hm00000007`W00000007WG0RR910ssI2000000RR910{{R3000000RR9100000000000RR9100000000003jhEB00000"
    "0551+01N;C00000001v&SpW+F00000004l1X;}aj000000001xj%ir|761SM00000^p0s+0TloM0000009cP{SpydU00000006v?"
    "X;}gb000000000OqG?$L0551+2><{90sw%3X;}aO000313jhEB000003;+NC00000fPiUP0ssI20551+0RR9100062006=6^FPPl"
    "{6Ez-|38|U`9A<JXjuaQ00000000#L00000000&M00000000*N00000001BcZ9lwRen0#0e?I^KfIk2L00000003BzX;}aOfIk2L"
    "fIk2LfIk2L000000000006+AOX;}aOfIk2LfIk2LfIk2L0000000000006v?X;}*Z00000000aC000000047uZDnF_WO)"
)
"""What the version before made of these events and a list of 11 and 12."""


def in_layout_3(state: UserState) -> bytes:
    """The state as the version before would have written it."""
    fields = list(HEADER.unpack_from(encode(state)))
    del fields[LOOKS]
    _, looks = state.looked_at()
    return b"".join(
        (HEADER_3.pack(3, *fields[1:]), state.watermarks, state.sequence, state.visits, state.keys, state.newest,
         state.places, state.again, state.browsed_keys, looks.tobytes(), state.published, state.text)
    )  # fmt: skip


def folded(events: Iterable[Event]) -> UserState:
    return publish(fold(UserState(), events).state, [11, 12])


def test_what_the_version_before_wrote_is_read() -> None:
    assert in_layout_3(folded(EVENTS)) == WRITTEN
    read = decode(WRITTEN)
    assert in_layout_3(read) == WRITTEN and len(encode(read)) == len(encode(folded(EVENTS)))


@given(histories())
def test_a_state_of_layout_3_is_read_as_the_same_state(events: list[Event]) -> None:
    state = folded(events)
    read = decode(in_layout_3(state))
    (keys, looks), (wanted_keys, wanted) = read.looked_at(), state.looked_at()
    assert keys.tolist() == wanted_keys.tolist() and looks.tobytes() == wanted.tobytes()
    assert in_layout_3(read) == in_layout_3(state)
    assert len(read.look_places) <= len(state.look_places), "what follows is not held"


@pytest.mark.parametrize("length", [1, 15, 103, 104, 151, 152, 400, len(WRITTEN) - 1])
def test_layout_3_that_is_not_all_there_is_refused(length: int) -> None:
    with pytest.raises(StateError):
        decode(WRITTEN[:length])


@pytest.mark.parametrize("at", range(2, 16, 2))
def test_layout_3_with_other_counts_is_refused(at: int) -> None:
    for count in (5, 2**16 - 1):
        changed = bytearray(WRITTEN)
        struct.pack_into("<H", changed, at, count)
        with pytest.raises(StateError):
            decode(bytes(changed))


def test_damage_in_layout_3_is_refused() -> None:
    first_look = len(WRITTEN) - len(b"somebody") - 2 * 8 - 3 * 28
    for at, value in ((1, b"\1"), (first_look, struct.pack("<f", math.nan)), (first_look + 24, b"\xff" * 4)):
        changed = WRITTEN[:at] + value + WRITTEN[at + len(value) :]
        with pytest.raises(StateError, match="damaged"):
            decode(changed)


def test_a_state_follows_one_of_either_layout() -> None:
    before, after = folded(EVENTS[:5]), folded(EVENTS)
    for write_before in (encode, in_layout_3):
        for write_after in (encode, in_layout_3):
            held, value = write_before(before), write_after(after)
            assert follows(value, held) and follows(value, write_before(after)) and not follows(held, value)
    assert follows(b"", encode(after)) and follows(encode(after), b"\3")
