"""States that no fold makes are refused when they are read, before they make the next fold or a score fail."""

import math
import struct
from dataclasses import replace

import pytest

from pprm import user_state
from pprm.events import Interaction, Kind, Position
from pprm.fold import fold
from pprm.user_state import AGAIN, INTERACTION, NEWEST, PLACE, WATERMARK, StateError, UserState, decode, encode

START = 1_500_000_000
REPLACEMENTS = {
    "purchases": dict(purchases=2**32 - 1),
    "no baskets": dict(baskets=0),
    "more baskets than purchases": dict(baskets=10**6),
    "last before first": dict(first_purchase=START + 10**6),
    "purchase after activity": dict(active_at=START - 1),
    "activity in 2106": dict(active_at=2**32 - 1),
    "decayed baskets not a number": dict(basket_decay28=math.nan),
    "decayed baskets infinite": dict(basket_decay112=math.inf),
    "decayed baskets negative": dict(basket_decay112=-1.0),
    "reviews not a number": dict(reviews=math.nan),
    "sentiment not a number": dict(sentiment=math.nan),
    "sentiment without reviews": dict(sentiment=1.0),
    "text not UTF-8": dict(text=b"\xff"),
    "text too long": dict(text=b"x" * 1025),
    "sequence too long": dict(sequence=bytes(129 * INTERACTION.size)),
    "published too long": dict(published=bytes(101 * 8)),
    "an offset beyond reason": dict(watermarks=WATERMARK.pack(0, 2**62) + bytes(3 * WATERMARK.size)),
    "a partition below none": dict(watermarks=WATERMARK.pack(-2, 0) + bytes(3 * WATERMARK.size)),
    "a kind that is none": dict(sequence=INTERACTION.pack(1, START, 6)),
}


def bought() -> UserState:
    events = [Interaction(Position(0, 1, i), Kind.PURCHASE, i % 3 + 1, START + i, i) for i in range(9)]
    return fold(UserState(), events).state


@pytest.mark.parametrize("changes", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_values_that_no_fold_makes_are_refused(changes: dict[str, object]) -> None:
    assert decode(encode(bought()))
    with pytest.raises(StateError):
        decode(encode(replace(bought(), **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "word", "form", "value"),
    [
        ("newest", 0, "<I", 2**32 - 1), ("newest", 1, "<I", 0), ("newest", 1, "<I", 10), ("places", 0, "<H", 3),
        ("again", 0, "<I", 1), ("again", 0, "<I", 2**32 - 1), ("again", 1, "<f", math.nan),
        ("again", 2, "<f", math.inf), ("again", 3, "<f", -1.0), ("again", 3, "<f", 0.0), ("again", 4, "<f", 3e38),
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
        decode(encode(replace(bought(), **{part: changed})))


def test_counters_of_products_that_are_not_there_are_refused() -> None:
    state = bought()
    with pytest.raises(StateError, match="product counters"):
        decode(encode(replace(state, keys=bytearray(), newest=bytearray())))


@pytest.mark.parametrize("version", [1, 2, 4])
def test_states_of_other_versions_are_refused(version: int) -> None:
    with pytest.raises(StateError, match=f"version {version}"):
        decode(bytes([version]) + encode(bought())[1:])


def test_filling_that_is_not_zero_is_refused() -> None:
    """Else the state would not be written back as it was read."""
    value = bytearray(encode(bought()))
    value[1] = 1
    with pytest.raises(StateError, match="filling"):
        decode(bytes(value))


def test_more_products_than_fit_are_refused() -> None:
    state = bought()
    many = user_state.MAX_PRODUCTS + 1
    full = replace(state, keys=bytearray(8 * many), newest=state.newest[: NEWEST.size] * many)
    with pytest.raises(StateError):
        decode(encode(full))
