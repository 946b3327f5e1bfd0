"""Stable 64-bit hashes: what an id becomes inside the state, the same in every process and release."""

import struct
from functools import lru_cache
from hashlib import blake2b

_U64 = struct.Struct("<Q")


@lru_cache(maxsize=1 << 18)
def stable_hash(text: str) -> int:
    """Return the 64-bit hash of an id; never 0, which stands for "none"."""
    (value,) = _U64.unpack(blake2b(text.encode(), digest_size=8).digest())
    return int(value) or 1
