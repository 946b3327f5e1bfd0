"""States that earlier versions wrote are read as those of today.

Nobody's history is lost by an upgrade.
"""

import base64
import math
import struct
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from msgspec.structs import replace

from pprm.core.events import Event, Interaction, Kind, Position, Profile
from pprm.state.fold import fold
from pprm.state.user_state import StateError, UserState, decode, encode, follows, publish
from pprm.state.watermarks import MAX_BASE, RECORD, WATERMARK
from tests.unit.state.test_fold import START, histories

HEADER, HEADER_5, HEADER_4, HEADER_3 = (
    struct.Struct(f"<BB{counts}Q{times}ddddddd")
    for counts, times in (
        ("HHHHHHHHHQ", "IIIIIII"),
        ("HHHHHHHHHQ", "IIIIII"),
        ("HHHHHHHH", "IIIIII"),
        ("HHHHHHH", "IIIIII"),
    )
)
LISTED_AT = 19
"""Place among the header's fields of as of when the list was made."""
LOOKS = 9
"""Place among the header's fields of how many products' looks are held."""
HIDDEN_AND_BASE = slice(10, 12)
BASKET_4 = ["time", "store", "size"]
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
WRITTEN_3 = base64.b85decode(
    "0{{pB0ssO40{{X52mk>91^@s6000000{{R30ssI20551+fPiUP0H$eK7@}!eLSB^Q*qi@9V6Om~y5|2s00000007`W00000008hm"
    "00000008hm00000007`W00000007WG0RR910ssI2000000RR910{{R3000000RR9100000000000RR9100000000003jhEB00000"
    "0551+01N;C00000001v&SpW+F00000004l1X;}aj000000001xj%ir|761SM00000^p0s+0TloM0000009cP{SpydU00000006v?"
    "X;}gb000000000OqG?$L0551+2><{90sw%3X;}aO000313jhEB000003;+NC00000fPiUP0ssI20551+0RR9100062006=6^FPPl"
    "{6Ez-|38|U`9A<JXjuaQ00000000#L00000000&M00000000*N00000001BcZ9lwRen0#0e?I^KfIk2L00000003BzX;}aOfIk2L"
    "fIk2LfIk2L000000000006+AOX;}aOfIk2LfIk2LfIk2L0000000000006v?X;}*Z00000000aC000000047uZDnF_WO)"
)
"""What the version with layout 3 made of these events and a list of 11 and 12."""
WRITTEN_4 = base64.b85decode(
    "1ONyC0ssO40{{X52mk>90ssa80000000093000620000lXjy=OX;}cKX;~PeX<0&El;qf(|36@_0GYbx|33f#00000;6DHW00000@IL?m"
    "00000@IL?m00000;6DHW00000&_4kH0006200000000310009300000000310000000000000310000000000000XB000000000lXjuRZ"
    "0000000000FKAf+3jhEB00000fPiUP02KfL000000FaJpSpgOR00000008ukX;}dk0000000013k7-#07XSbN00000ypL&F0t)~D00000"
    "02rcaSp@(uXjusW00062fPiUP000000RRgC00000000aC00000004l1X;}gQ0000lXjuUO000000ssI2!S3@v$KL!u)iwV=nwj}O0551+"
    "0{{R3000006#xJL00000761SM000007XSbN00000SdVF0^p0s+ypL&F0RR91004kL004kL004kL00000000000000#AO>weyj*@i`|y81"
    "004kL00000000003jhEB000003;+NC00000b8l^BVsB)5"
)
"""The one with layout 4."""
WRITTEN_5 = base64.b85decode(
    "1q28H0ssO40{{X52mk>90ssL3^Z@_>000001^@s6000000{{R30ssI20551+fPiUP0H$eK7@}!eLSB^Q*qi@9V6Om~y5|2s00000"
    "007`W00000008hm00000008hm00000007`W00000007WG0RR912LJ#70ssI2000000|5X400#g700RI30000000aR5000L700000"
    "000000003200007000000000000000WB>pFWdHyGW&i*HX8-^IXaE2JX#fBKY5)KLYXATM3jhEB000000551+01N;C00000001v&"
    "SpW+F00000004l1X;}aj000000001xj%ir|761SM00000^p0s+0TloM0000009cP{SpydU00000006v?X;}gb000000000OqG?$L"
    "0551+2><{91poj50sw%3X;}aO000I6000313jhEB000003;+NC00000fPiUP0ssI20551+0RR9100062006=6^FPPl{6Ez-|38|U"
    "`9A<JXjuaQ00000000#L00000000&M00000000*N00000003BzX<77+X<59FX;}dP00000fIk2LfIk2LfIk2L000000000006!oG"
    "Z9lwRen0#0e?I^KfIk2L00000002z@00000000XB00000000aC000000047uZDnF_WO)"
)
"""The one with layout 5, of `with_fingerprints` after a topic made anew and a hidden product."""


def in_layout_5(state: UserState) -> bytes:
    """The state as the version before would have written it, which counted no lists."""
    value = encode(state)
    fields = list(HEADER.unpack_from(value))
    del fields[LISTED_AT]
    fields[0], fields[11] = 5, fields[11] // RECORD
    return HEADER_5.pack(*fields) + value[HEADER.size :]


def in_layout_4(state: UserState) -> bytes:
    """The state as the version before that one would have written it."""
    fields = list(HEADER.unpack_from(encode(state)))
    del fields[LISTED_AT], fields[HIDDEN_AND_BASE]
    return b"".join(
        (HEADER_4.pack(4, 0, *fields[2:]), marks(state), state.sequence, visits(state), state.keys,
        state.newest,
         state.places, state.again, state.browsed_keys, state.browsed_at, state.look_places,
         state.looks,
         state.published, state.text)
    )  # fmt: skip


def in_layout_3(state: UserState) -> bytes:
    """The state as the first of these versions would have written it."""
    fields = list(HEADER.unpack_from(encode(state)))
    del fields[LISTED_AT], fields[HIDDEN_AND_BASE], fields[LOOKS]
    _, looks = state.looked_at()
    return b"".join(
        (HEADER_3.pack(3, 0, *fields[2:]), marks(state), state.sequence, visits(state), state.keys,
        state.newest,
         state.places, state.again, state.browsed_keys, looks.tobytes(), state.published,
         state.text)
    )  # fmt: skip


def marks(state: UserState) -> bytes:
    held = [
        (partition, offset) for partition, _, offset, _ in WATERMARK.iter_unpack(state.watermarks)
    ]
    return b"".join(struct.pack("<iq", *mark) for mark in held + [(-1, -1)] * (4 - len(held)))


def visits(state: UserState) -> bytes:
    return b"".join(
        struct.pack("<IIH", *basket) for basket in state.recent_baskets()[BASKET_4].tolist()
    )


LAYOUTS: list[Callable[[UserState], bytes]] = [in_layout_3, in_layout_4, in_layout_5]


def folded(events: Iterable[Event]) -> UserState:
    state = fold(UserState(), events).state
    return publish(state, [11, 12], state.active_at)


def with_fingerprints(events: Iterable[Event]) -> Iterator[Event]:
    """The same events from a broker that names its logs, each with an id."""
    for number, event in enumerate(events):
        made = replace(event, position=replace(event.position, log=7))
        yield (replace(made, fingerprint=100 + number) if isinstance(made, Interaction) else made)


def test_what_earlier_versions_wrote_is_read() -> None:
    for write, written in ((in_layout_3, WRITTEN_3), (in_layout_4, WRITTEN_4)):
        assert write(folded(EVENTS)) == written
        read = decode(written)
        assert write(read) == written and read.version == folded(EVENTS).version
    state = replace(folded(with_fingerprints(EVENTS)), base=1000, hidden=(77).to_bytes(8, "little"))
    assert in_layout_5(state) == WRITTEN_5 and encode(decode(WRITTEN_5)) == encode(state)


def test_a_list_of_an_earlier_version_was_as_of_the_last_event_and_none_was_never() -> None:
    for written in (WRITTEN_3, WRITTEN_4, WRITTEN_5):
        assert decode(written).listed_at == EVENTS[-1].time
    for write in LAYOUTS:
        assert decode(write(fold(UserState(), EVENTS).state)).listed_at == 0


@pytest.mark.parametrize("base", [0, 7, MAX_BASE // RECORD, MAX_BASE - 1, MAX_BASE])
def test_a_version_of_layout_5_only_grows(base: int) -> None:
    written = HEADER_5.pack(*[5, 0] + [0] * 9 + [base] + [0] * 14)
    assert decode(written).version >= base
    with pytest.raises(StateError):
        decode(HEADER_5.pack(*[5, 0] + [0] * 9 + [MAX_BASE + 1] + [0] * 14))


@pytest.mark.parametrize("write", LAYOUTS)
@given(events=histories())
def test_a_state_of_an_earlier_layout_is_read_as_the_same_state(
    write: Callable[[UserState], bytes], events: list[Event]
) -> None:
    state = folded(events)
    read = decode(write(state))
    (keys, looks), (wanted_keys, wanted) = read.looked_at(), state.looked_at()
    assert keys.tolist() == wanted_keys.tolist() and looks.tobytes() == wanted.tobytes()
    assert write(read) == write(state) and encode(decode(encode(read))) == encode(read)
    assert len(read.look_places) <= len(state.look_places), "what follows is not held"


def test_of_the_baskets_of_layout_4_the_current_ones_key_is_known() -> None:
    assert decode(WRITTEN_4).recent_baskets()["key"].tolist() == [0, 6]


@given(histories(), histories())
def test_a_state_of_layout_4_takes_events_as_one_of_today(
    before: list[Event], after: list[Event]
) -> None:
    """Whatever the log of the next records is.

    That of the first of each topic is taken for the one before.
    """
    state = folded(before)
    later = [
        replace(event, position=replace(event.position, offset=event.position.offset + 200, log=7))
        for event in after
    ]
    read, wanted = fold(decode(in_layout_4(state)), later).state, fold(state, later).state
    assert in_layout_4(read) == in_layout_4(wanted) and read.version == wanted.version
    assert fold(read, later).repeats == len(later)


@pytest.mark.parametrize("written", [WRITTEN_3, WRITTEN_4, WRITTEN_5])
@pytest.mark.parametrize(
    "length", [1, 15, 103, 104, 105, 106, 115, 116, 117, 151, 152, 153, 154, 400, -1]
)
def test_an_earlier_layout_that_is_not_all_there_is_refused(written: bytes, length: int) -> None:
    with pytest.raises(StateError):
        decode(written[:length])


@pytest.mark.parametrize(
    ("written", "at"),
    [(WRITTEN_3, at) for at in range(2, 16, 2)]
    + [(WRITTEN_4, at) for at in range(2, 18, 2)]
    + [(WRITTEN_5, at) for at in range(2, 20, 2)],
)
def test_an_earlier_layout_with_other_counts_is_refused(written: bytes, at: int) -> None:
    for count in (5, 2**16 - 1):
        changed = bytearray(written)
        struct.pack_into("<H", changed, at, count)
        with pytest.raises(StateError):
            decode(bytes(changed))


def test_damage_in_an_earlier_layout_is_refused() -> None:
    first_look = len(WRITTEN_3) - len(b"somebody") - 2 * 8 - 3 * 28
    for at, value in (
        (1, b"\1"),
        (first_look, struct.pack("<f", math.nan)),
        (first_look + 24, b"\xff" * 4),
    ):
        with pytest.raises(StateError):
            decode(WRITTEN_3[:at] + value + WRITTEN_3[at + len(value) :])
    for at, value in ((1, b"\1"), (106, b"\xf0\xff\xff\xff"), (110, b"\0\0\0\0\0\0\0\x7f")):
        with pytest.raises(StateError):
            decode(WRITTEN_4[:at] + value + WRITTEN_4[at + len(value) :])


def test_a_state_follows_one_of_any_layout() -> None:
    before, after = folded(EVENTS[:5]), folded(EVENTS)
    for write_before in (encode, *LAYOUTS):
        for write_after in (encode, *LAYOUTS):
            held, value = write_before(before), write_after(after)
            assert (
                follows(value, held)
                and follows(value, write_before(after))
                and not follows(held, value)
            )
    for nothing in (b"", b"\3", b"\4", b"\5", b"\6"):
        assert follows(nothing, encode(after)) and follows(encode(after), nothing)
