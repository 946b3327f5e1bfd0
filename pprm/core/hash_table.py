"""Finds the rows of many ids at once, by their hashes.

A million take some dozens of milliseconds; a dict takes a second.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled


class HashTable(NamedTuple):
    """Hashes and rows in open addressing, with linear probing, half full at most.

    Row -1 is an empty place.
    """

    hashes: NDArray[np.uint64]
    row: NDArray[np.int64]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> "HashTable":
        """The table in which each of these, all different, has its index as its row."""
        return cls(*_make(hashes))

    def rows(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Row of each hash, -1 where there is none."""
        rows: NDArray[np.int64] = _look_up(self.hashes, self.row, hashes)
        return rows


@compiled
def _make(hashes: NDArray[np.uint64]) -> Any:
    size = 16  # a power of two: the lower bits of a hash are its place
    while size < 2 * len(hashes):
        size *= 2
    keys, rows = np.zeros(size, np.uint64), np.full(size, -1, np.int64)
    for row in range(len(hashes)):
        at = hashes[row] & np.uint64(size - 1)
        while rows[at] >= 0:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        keys[at], rows[at] = hashes[row], row
    return keys, rows


@compiled
def _look_up(keys: NDArray[np.uint64], rows: NDArray[np.int64], hashes: NDArray[np.uint64]) -> Any:
    found, last = np.empty(len(hashes), np.int64), np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & last
        while rows[at] >= 0 and keys[at] != hashes[i]:
            at = (at + np.uint64(1)) & last
        found[i] = rows[at]
    return found
