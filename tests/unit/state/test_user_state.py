"""States that no fold makes are refused when they are read, before they fail a fold."""

import math
import struct

import pytest
from msgspec.structs import replace

from pprm.core.events import SLOTS, Interaction, Kind, Position
from pprm.state.fold import fold
from pprm.state.user_state import (
    AGAIN,
    BASKET,
    INTERACTION,
    KEY,
    LOOKS,
    MAX_BASKETS,
    MAX_BROWSED,
    MAX_PRODUCTS,
    NEWEST,
    PLACE,
    TIME,
    StateError,
    UserState,
    decode,
    encode,
)
from pprm.state.watermarks import FINGERPRINT, MAX_BASE, MAX_WATERMARKS, WATERMARK

START = 1_500_000_000


def bought() -> UserState:
    events = [
        Interaction(Position(0, 1, i), Kind.PURCHASE, i % 3 + 1, START + i, i) for i in range(9)
    ]
    return fold(UserState(), events).state


REPLACEMENTS = {
    "purchases": dict(purchases=2**32 - 1),
    "no baskets": dict(baskets=0),
    "more baskets than purchases": dict(baskets=10**6),
    "last before first": dict(first_purchase=START + 10**6),
    "purchase after activity": dict(active_at=START - 1),
    "review after activity": dict(reviewed_at=2**31),
    "activity in 2106": dict(active_at=2**32 - 1),
    "decayed baskets not a number": dict(basket_decay28=math.nan),
    "decayed baskets infinite": dict(basket_decay112=math.inf),
    "decayed baskets negative": dict(basket_decay112=-1.0),
    "decayed baskets more than baskets": dict(basket_decay28=1e6),
    "a basket that is not counted": dict(visits=bought().visits[: BASKET.size]),
    "promotions not a number": dict(promotions=math.nan),
    "promotions infinite": dict(promotions=math.inf),
    "mailer not a number": dict(promotions=1.0, mailer=math.nan),
    "mailer negative": dict(promotions=1.0, mailer=-0.5),
    "mailer above promotions": dict(promotions=1.0, mailer=1.5),
    "display not a number": dict(promotions=1.0, display=math.nan),
    "display negative": dict(promotions=1.0, display=-0.5),
    "display above promotions": dict(promotions=1.0, display=1.5),
    "reviews infinite": dict(reviews=math.inf),
    "reviews not a number": dict(reviews=math.nan),
    "sentiment not a number": dict(sentiment=math.nan),
    "sentiment without reviews": dict(sentiment=1.0),
    "text not UTF-8": dict(text=b"\xff"),
    "text too long": dict(text=b"x" * 1025),
    "sequence too long": dict(sequence=bytes(129 * INTERACTION.size)),
    "published too long": dict(published=bytes(101 * 8)),
    "an offset beyond reason": dict(watermarks=WATERMARK.pack(0, 1, 2**62, 0)),
    "an offset below none": dict(watermarks=WATERMARK.pack(0, 1, -2, 0)),
    "a partition below none": dict(watermarks=WATERMARK.pack(-2, 1, 0, 0)),
    "more watermarks than are possible": dict(
        watermarks=WATERMARK.pack(0, 1, 0, 0) * (MAX_WATERMARKS + 1)
    ),
    "watermarks that are not there": dict(watermarks=WATERMARK.pack(0, 1, 0, 0) * 255),
    "more fingerprints than are possible": dict(
        watermarks=WATERMARK.pack(0, 1, 0, 65), fingerprints=bytes(65 * FINGERPRINT.size)
    ),
    "fingerprints of re-keyed records, which are in their topic's ring": dict(
        watermarks=WATERMARK.pack(0, 1, 0, 0) * SLOTS + WATERMARK.pack(0, 1, 0, 1),
        fingerprints=bytes(FINGERPRINT.size),
    ),
    "fingerprints that are not there": dict(watermarks=WATERMARK.pack(0, 1, 0, 64)),
    "a base beyond reason": dict(base=MAX_BASE + 1),
    "a list of another century": dict(listed_at=2**32 - 1),
    "hidden too long": dict(hidden=bytes(129 * 8)),
    "a kind that is none": dict(sequence=INTERACTION.pack(1, START, 6)),
}


@pytest.mark.parametrize("changes", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_values_that_no_fold_makes_are_refused(changes: dict[str, object]) -> None:
    assert decode(encode(bought()))
    with pytest.raises(StateError):
        decode(encode(replace(bought(), **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "word", "form", "value"),
    [
        ("newest", 0, "<I", 2**32 - 1), ("newest", 1, "<I", 0), ("newest", 1, "<I", 10),
        ("places", 0, "<H", 3),
        ("again", 0, "<I", 1), ("again", 0, "<I", 2**32 - 1), ("again", 1, "<f", math.nan),
        ("again", 2, "<f", math.inf), ("again", 3, "<f", -1.0), ("again", 3, "<f", 0.0),
        ("again", 4, "<f", 3e38),
        ("again", 5, "<I", 2**32 - 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [0, 2])
def test_product_counters_that_no_fold_makes_are_refused(
    part: str, word: int, form: str, value: float, row: int
) -> None:
    changed = bytearray(getattr(bought(), part))
    size = {"newest": NEWEST, "places": PLACE, "again": AGAIN}[part].size
    struct.pack_into(form, changed, row * size + 4 * word, value)
    with pytest.raises(StateError, match="product counters"):
        decode(encode(replace(bought(), **{part: bytes(changed)})))


def looked() -> UserState:
    """Three products looked at twice each."""
    return fold(
        UserState(),
        [Interaction(Position(1, 1, i), Kind.VIEW, i % 3 + 1, START + i) for i in range(6)],
    ).state


@pytest.mark.parametrize(
    ("part", "at", "form", "value"),
    [
        ("looks", 4 * word, "<f", value)
        for word in (0, 5, 12, 17)
        for value in (math.nan, math.inf, -1.0, 2.0**31)
    ]
    + [("browsed_at", 0, "<I", START + 6), ("browsed_at", 8, "<I", 2**32 - 1)]
    + [("look_places", 0, "<H", 3), ("look_places", 4, "<H", 2**16 - 1)],
)
def test_browse_counters_that_no_fold_makes_are_refused(
    part: str, at: int, form: str, value: float
) -> None:
    changed = bytearray(getattr(looked(), part))
    struct.pack_into(form, changed, at, value)
    assert decode(encode(looked()))
    with pytest.raises(StateError, match="browse counters"):
        decode(encode(replace(looked(), **{part: bytes(changed)})))


def test_counters_of_products_that_are_not_there_are_refused() -> None:
    state = bought()
    with pytest.raises(StateError, match="product counters"):
        decode(encode(replace(state, keys=b"", newest=b"")))


@pytest.mark.parametrize("version", [1, 2, 7])
def test_states_of_other_versions_are_refused(version: int) -> None:
    with pytest.raises(StateError, match=f"version {version}"):
        decode(bytes([version]) + encode(bought())[1:])


def test_more_parts_than_fit_are_refused() -> None:
    state, looks, many = bought(), MAX_BROWSED + 1, MAX_PRODUCTS + 1
    for changes in (
        dict(keys=bytes(KEY.size * many), newest=state.newest[: NEWEST.size] * many),
        dict(places=bytes(PLACE.size * many), again=state.again[: AGAIN.size] * many),
        dict(browsed_keys=bytes(KEY.size * looks), browsed_at=bytes(TIME.size * looks)),
        dict(look_places=bytes(PLACE.size * looks), looks=bytes(LOOKS.size * looks)),
        dict(visits=bytes(BASKET.size * (MAX_BASKETS + 1)), baskets=100, purchases=100),
    ):
        with pytest.raises(StateError, match="more parts"):
            decode(encode(replace(state, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [0, 1, 115, 116, 117, 133, 134, -1])
def test_bytes_that_are_not_all_there_are_refused(cut: int) -> None:
    with pytest.raises(StateError):
        decode(encode(bought())[:cut])
