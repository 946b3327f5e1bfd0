"""Reads states of layout 3, which held the counters of every product looked at.

They become states of layout 4.
"""

import struct

import numpy as np

from pprm.state import layout4

TAG = b"\3"
"""A state's first byte."""
HEADER_BYTES = 104
"""Before the watermarks."""
_COUNTS = struct.Struct("<HHHHHHH")
"""Sizes from byte 2 on, in the order of `_COUNTS`.

Interactions, baskets, products bought, looked at, published, bytes of text, bought again.
"""
_COUNTS_END = 2 + _COUNTS.size
_LOOKS = np.dtype([("counters", "<f4", 6), ("last", "<u4")])
_PLAIN = np.array([1, 1, 1, 0, 0, 0], "<f4")
"""Counters of a product that was looked at once."""


def to_layout_4(value: bytes) -> bytes:
    """The same state in layout 4; bytes that are not one of layout 3 become none of layout 4."""
    if len(value) < HEADER_BYTES:
        return value
    _, _, _, looked, published, text, _ = _COUNTS.unpack_from(value, 2)
    end = len(value) - 8 * published - text
    start = end - looked * _LOOKS.itemsize
    if start < HEADER_BYTES:
        return value
    looks = np.frombuffer(value[start:end], _LOOKS)
    counters, last = looks["counters"], looks["last"]
    places = np.flatnonzero((counters != _PLAIN).any(axis=1)).astype("<u2")
    return b"".join(
        (layout4.TAG, value[1:_COUNTS_END], struct.pack("<H", len(places)),
        value[_COUNTS_END:start], last.tobytes(),
         places.tobytes(), counters[places].tobytes(), value[end:])
    )  # fmt: skip
