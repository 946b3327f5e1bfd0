"""Lays a catalogue out in blocks that can be left out as a whole.

A block holds similar products of a (type, category) pair.

The pair's part of the first layer is the same for all products of a block. What else they share
should be as much as can be: they are sorted by what their own part of the first layer does to the
logit, which is mostly popularity.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled
from pprm.retrieval import first_layer
from pprm.retrieval.first_layer import Blocks, Ints, ProductParts, Weights

BLOCK = 24
"""Products of a block at most."""
NEAR = np.float32(0.25)
"""How far from a block's centre a vector is taken to be, as a share of the largest distance.

At 1 the bounds hold whatever comes; but a vector that is so far off in the direction that suits
each hidden unit most was never seen.
"""


def order(pair: Ints, logit: Floats) -> Ints:
    """Order candidates by pair, and in each by their own part of the first layer's logit."""
    # of floats that are not negative, the bits are in their order
    bits = (logit - logit.min(initial=0)).view(np.int32)
    return np.argsort(pair << 32 | bits, kind="stable")


def make(parts: ProductParts, net: Weights) -> Blocks:
    """Blocks of the candidates, which are in that order."""
    products = np.diff(parts.starts)
    blocks = -(-products // BLOCK)
    pair = np.repeat(np.arange(len(products)), blocks)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    starts = np.append(parts.starts[pair] + place * BLOCK, len(parts.rows))
    corner, centres, radius = _enclose(parts.daily, parts.vectors, starts, net.output > 0)
    return Blocks(
        starts,
        pair,
        corner,
        first_layer.across(centres),
        radius * NEAR,
        *_of_makers(parts.maker, starts),
    )


def _of_makers(maker: Ints, starts: Ints) -> tuple[Ints, Ints]:
    """`maker_starts` and `maker_blocks`."""
    block = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    both = np.unique(maker << 32 | block)
    return np.searchsorted(both >> 32, np.arange(maker.max() + 2)), both & 0xFFFFFFFF


@compiled
def _enclose(daily: Floats, vectors: Floats, starts: Ints, upwards: NDArray[np.bool_]) -> Any:
    """`corner` [b, H], centres [b, d] and `radius` [b]."""
    count, width, d = len(starts) - 1, daily.shape[1], vectors.shape[1]
    corner, centres = np.empty((count, width), np.float32), np.zeros((count, d), np.float32)
    radius = np.zeros(count, np.float32)
    for j in range(count):
        inside = range(starts[j], starts[j + 1])
        for h in range(width):
            corner[j, h] = daily[starts[j], h]
        for i in inside:
            for h in range(width):
                x = daily[i, h]
                corner[j, h] = max(corner[j, h], x) if upwards[h] else min(corner[j, h], x)
            for k in range(d):
                centres[j, k] += vectors[i, k] / len(inside)
        for i in inside:
            square = np.float32(0)
            for k in range(d):
                square += (vectors[i, k] - centres[j, k]) ** 2
            radius[j] = max(radius[j], np.sqrt(square))
    return corner, centres, radius
