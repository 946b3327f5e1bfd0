"""Columns of the state: bytes of rows of one size, never changed but replaced."""

import numpy as np

from pprm.state.user_state import PLACE


def find(column: bytes, value: bytes) -> int:
    """Row of a value, -1 where there is none.

    A search for its bytes is faster than any index at this size.
    """
    at = column.find(value)
    while at >= 0 and at % len(value):
        at = column.find(value, at + 1)
    return at // len(value)


def replaced(column: bytes, at: int, value: bytes) -> bytes:
    """A column with other bytes from `at` on."""
    return column[:at] + value + column[at + len(value) :]


def without(column: bytes, size: int, row: int) -> bytes:
    """A column without a row of this size."""
    return column[: row * size] + column[(row + 1) * size :]


def held(places: bytes, counters: bytes, product: int, made: bytes) -> tuple[int, bytes, bytes]:
    """Return the row of a product's counters, and both columns.

    Products without counters get the counters `made`, at the end of the columns.
    """
    place = PLACE.pack(product)
    row = find(places, place)
    if row >= 0:
        return row, places, counters
    return len(places) // PLACE.size, places + place, counters + made


def not_held(places: bytes, counters: bytes, size: int, product: int) -> tuple[bytes, bytes]:
    """Return both columns without the counters of a product, which take `size` bytes."""
    row = find(places, PLACE.pack(product))
    return (
        (places, counters)
        if row < 0
        else (without(places, PLACE.size, row), without(counters, size, row))
    )


def without_product(places: bytes, counters: bytes, size: int, at: int) -> tuple[bytes, bytes]:
    """Return both columns when the product at one place of the keys is gone.

    Its counters, of `size` bytes, go as well. Places behind it are one less then.
    """
    places, counters = not_held(places, counters, size, at)
    moved = np.frombuffer(places, "<u2")
    return (moved - (moved > at)).tobytes(), counters
