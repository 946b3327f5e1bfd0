"""Stable sorts of numbers in compiled loops: one small radix sort for all of them.

numba's own sorts are compiled anew for each type, and take seconds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled

_DIGITS, _BITS, _VALUES = 4, 8, 256
"""A key of 32 bits is four digits of 8 bits, of 256 values each."""
_SIGN, _INFINITY, _NOT_A_NUMBER = 0x80000000, 0x7F800000, 0xFFFFFFFF


@compiled
def ascending(keys: NDArray[np.int64]) -> Any:
    """Places of keys of 32 bits, none of them negative, the lowest first, equal ones in order."""
    n = len(keys)
    order, other = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    ends = np.empty(_VALUES, np.int64)
    for digit in range(_DIGITS):
        shift = _BITS * digit
        for value in range(_VALUES):
            ends[value] = 0
        for i in range(n):
            ends[(keys[i] >> shift) & (_VALUES - 1)] += 1
        for value in range(1, _VALUES):
            ends[value] += ends[value - 1]
        for i in range(n - 1, -1, -1):
            value = (keys[order[i]] >> shift) & (_VALUES - 1)
            ends[value] -= 1
            other[ends[value]] = order[i]
        order, other = other, order
    return order


@compiled
def descending(values: NDArray[np.float32]) -> Any:
    """Places of values, the highest first, equal ones in order; what is no number is last."""
    keys, bits = np.empty(len(values), np.int64), values.view(np.uint32)
    for i in range(len(values)):
        key = np.int64(bits[i])
        if (key & (_SIGN - 1)) > _INFINITY:
            keys[i] = _NOT_A_NUMBER
        elif key > _SIGN:
            keys[i] = key
        else:  # 0 has two signs
            keys[i] = _SIGN - 1 - (key & (_SIGN - 1))
    return ascending(keys)
