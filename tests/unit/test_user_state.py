"""States that no fold makes are refused when they are read, before they make the next fold or a score fail."""

import math
import struct
from dataclasses import replace

import pytest

from pprm import user_state
from pprm.events import Interaction, Kind, Position
from pprm.fold import fold
from pprm.user_state import COUNTERS, INTERACTION, WATERMARK, StateError, UserState, decode, encode

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
    ("column", "form", "value"),
    [
        (0, "<I", 0), (0, "<I", 2**32 - 1), (1, "<f", math.nan), (2, "<f", math.inf), (3, "<f", -1.0), (3, "<f", 0.0),
        (4, "<f", 3e38), (5, "<I", 2**32 - 1), (6, "<I", 2**32 - 1), (7, "<I", 0), (7, "<I", 10),
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [0, 2])
def test_product_counters_that_no_fold_makes_are_refused(column: int, form: str, value: float, row: int) -> None:
    counters = bytearray(bought().counters)
    struct.pack_into(form, counters, row * COUNTERS.size + 4 * column, value)
    with pytest.raises(StateError, match="product counters"):
        decode(encode(replace(bought(), counters=counters)))


@pytest.mark.parametrize("at", [1, 14, 15])
def test_filling_that_is_not_zero_is_refused(at: int) -> None:
    """Else the state would not be written back as it was read."""
    value = bytearray(encode(bought()))
    value[at] = 1
    with pytest.raises(StateError, match="filling"):
        decode(bytes(value))


def test_more_products_than_fit_are_refused() -> None:
    state = bought()
    many = user_state.MAX_PRODUCTS + 1
    full = replace(state, keys=bytearray(8 * many), counters=state.counters[: COUNTERS.size] * many)
    with pytest.raises(StateError):
        decode(encode(full))
