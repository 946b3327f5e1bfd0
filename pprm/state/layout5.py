"""Reads states of layout 5, which did not say as of when their list was made.

They become states of layout 6.
"""

import struct

from pprm.state.watermarks import MAX_BASE, RECORD

TAG = b"\5"
"""A state's first byte."""
HEADER_BYTES = 116
_PUBLISHED, _BASE, _ACTIVE_AT = (
    (struct.Struct("<H"), 10), (struct.Struct("<Q"), 20), (struct.Struct("<I"), 52)
)  # fmt: skip
"""Form and place of what is read."""
_TIMES_END = 60


def to_layout_6(value: bytes) -> bytes:
    """The same state in layout 6; bytes that are not one of layout 5 are left as they are.

    A list was as of the shopper's last event. `base` counts in another unit since.
    """
    if len(value) < HEADER_BYTES:
        return value
    published, base, active_at = (
        form.unpack_from(value, at)[0] for form, at in (_PUBLISHED, _BASE, _ACTIVE_AT)
    )
    base_at = _BASE[1]
    return b"".join(
        (b"\6", value[1:base_at], _BASE[0].pack(_counted(base)),
         value[base_at + 8 : _TIMES_END], struct.pack("<I", active_at if published else 0),
         value[_TIMES_END:])
    )  # fmt: skip


def _counted(base: int) -> int:
    """A base in today's unit; one beyond reason stays so."""
    return base if base > MAX_BASE else min(RECORD * base, MAX_BASE)
