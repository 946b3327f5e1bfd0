"""Stable hashes: what an id becomes inside the state, the same in every process and release."""

import struct
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

_U64 = struct.Struct("<Q")


@lru_cache(maxsize=1 << 18)
def stable_hash(text: str) -> int:
    """Return the 64-bit hash of an id; never 0, which stands for "none"."""
    return hash_of(text.encode())


def hash_of(key: bytes) -> int:
    """`stable_hash` of an id in UTF-8, which is not kept: there are too many shoppers."""
    (value,) = _U64.unpack(blake2b(key, digest_size=8).digest())
    return int(value) or 1


def fingerprint(kind: int, event_id: str, product: int) -> int:
    """Return 32 bits that an event is known by, never 0.

    They are made of its kind, its id and its product (`stable_hash`).

    With the product, since many a shop gives all lines of an order the order's id. A checksum takes
    a fifth of a hash's time; two ids of one product that differ in four neighbouring bytes at most
    never get the same.
    """
    return crc32(event_id.encode(), (product + kind) & 0xFFFFFFFF) or 1
