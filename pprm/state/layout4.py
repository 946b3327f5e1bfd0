"""Reads states of layout 4, which had no fingerprints, no logs and no baskets' keys.

They become states of layout 5.
"""

import struct

import numpy as np

TAG = b"\4"
"""A state's first byte."""
HEADER_BYTES = 106
_COUNTS_END = 18
_BASKET_AT = _COUNTS_END
_MARK, _MARKS = struct.Struct("<iq"), 4
_BASKET = np.dtype([("time", "<u4"), ("store", "<u4"), ("size", "<u2")])
_BASKET_5 = np.dtype([("time", "<u4"), ("store", "<u4"), ("key", "<u4"), ("size", "<u2")])
_INTERACTION_BYTES = 13


def to_layout_5(value: bytes) -> bytes:
    """The same state in layout 5; bytes that are not one of layout 4 are left as they are.

    Of the baskets only the current one's key is known. The log of the watermarks is not: it is
    taken for that of the next record (`pprm.state.watermarks`).
    """
    marks_end = HEADER_BYTES + _MARKS * _MARK.size
    if len(value) < marks_end or value[1]:
        return value
    interactions, visits = struct.unpack_from("<HH", value, 2)
    visits_at = marks_end + interactions * _INTERACTION_BYTES
    visits_end = visits_at + visits * _BASKET.itemsize
    if visits_end > len(value):
        return value
    marks = b"".join(
        struct.pack("<iIqB", partition, 0, offset, 0) for partition, offset in _marks(value)
    )
    return b"".join(
        (b"\5", bytes([_MARKS]), value[2:_COUNTS_END], struct.pack("<HQ", 0, 0),
        value[_COUNTS_END:HEADER_BYTES], marks,
         value[marks_end:visits_at], _baskets(value[visits_at:visits_end], value),
         value[visits_end:])
    )  # fmt: skip


def _marks(value: bytes) -> list[tuple[int, ...]]:
    return list(_MARK.iter_unpack(value[HEADER_BYTES : HEADER_BYTES + _MARKS * _MARK.size]))


def _baskets(visits: bytes, value: bytes) -> bytes:
    """The baskets with their keys."""
    held = np.frombuffer(visits, _BASKET)
    made = np.zeros(len(held), _BASKET_5)
    for name in _BASKET.names or ():
        made[name] = held[name]
    if len(made):
        (current,) = struct.unpack_from("<Q", value, _BASKET_AT)
        made["key"][-1] = current & 0xFFFFFFFF or 1
    return made.tobytes()
