"""Partitions of many keys, for every shopper of every micro-batch.

The partitioners of `worker.kafka.partitioner` are compiled here.

A key takes .05 us in a large micro-batch, where a loop of Python takes 4.5.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled, part
from worker.kafka.partitioner import POSITIVE
from worker.settings import Partitioner


def warm_up() -> None:
    """Compile what is compiled, or read it from the cache.

    The first micro-batch must not wait for it.
    """
    homes("murmur2", [b"a key"], 1)


def homes(partitioner: Partitioner, keys: Sequence[bytes], count: int) -> NDArray[np.int64]:
    """The partition of each key, of so many in its topic."""
    if partitioner == "consistent_random":
        return np.array([crc32(key) for key in keys], np.int64) % count
    ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
    return (_murmur2(np.frombuffer(b"".join(keys), np.uint8), ends) & POSITIVE) % count


@compiled
def _murmur2(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute 32 bits of each key, as Java's `org.apache.kafka.common.utils.Utils.murmur2` does.

    Keys lie one behind the other.

    Written in whole numbers of 64 bits that are cut to 32: numba would make floats of mixed ones.
    """
    hashes, at = np.empty(len(ends), np.int64), np.int64(0)
    for row in range(len(ends)):
        h, end = 0x9747B28C ^ (ends[row] - at), ends[row]
        while at + 4 <= end:
            k = _word(data, at, at + 4) * _M & _BITS
            h = h * _M & _BITS ^ ((k ^ k >> 24) * _M & _BITS)
            at += 4
        if at < end:
            h = (h ^ _word(data, at, end)) * _M & _BITS
            at = end
        h = (h ^ h >> 13) * _M & _BITS
        hashes[row] = h ^ h >> 15
    return hashes


@part
def _word(data: NDArray[np.uint8], at: Any, end: Any) -> Any:
    """Up to four bytes, the lowest first."""
    word = np.int64(0)
    for place in range(at, end):
        word |= np.int64(data[place]) << 8 * (place - at)
    return word


_M, _BITS = 0x5BD1E995, 0xFFFFFFFF
