"""The input of a micro-batch on the device: one buffer.

Each shopper has the same space in it.

Sizes are powers of two, so that there are few of them to record. Codes and columns are counted from
1: a 0, as in all space that is not used, is nothing.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm.core.arrays import Floats
from pprm.retrieval.candidates import LOOKED
from pprm.retrieval.features import GROUP, ITEM, MAKER, SCALARS, Groups
from pprm.state.user_state import MAX_SEQUENCE

Indices = NDArray[np.int64]

LEAST_BOUGHT = 256
"""Products bought that there is space for, at least."""
GROUP_WIDTH, ITEM_WIDTH = len(GROUP) + 1, len(ITEM) + 1


class Items(NamedTuple):
    """Candidates of which something is known of a shopper, i of them."""

    columns: Indices
    """Places among the N candidates, [i]."""
    features: Floats
    """As `features.ITEM`, and the product's share of its type, [i, 15]."""
    bar: Floats
    """Added to the logits: 0, or -inf for what the rules leave out, [i]."""


class ShopperInput(NamedTuple):
    """All that is read of a shopper."""

    text: Floats
    """[text_dimensions]"""
    scalars: Floats
    """As `features.SCALARS`, [7]."""
    rows: Indices
    """Sequence for `PPRM.pool`: catalogue rows, ages in days, weights, each [MAX_SEQUENCE]."""
    ages: Floats
    weights: Floats
    groups: Groups
    bought: Items
    """In ascending order of columns; what must not be chosen is among them, bought or not."""
    looked: Items
    """`LOOKED` at most."""


class BufferSize(NamedTuple):
    """Sizes of a micro-batch's buffer."""

    shoppers: int
    bought: int
    """Space for products bought, of each shopper."""
    text_dimensions: int


Part = TypeVar("Part")


class BufferParts(NamedTuple, Generic[Part]):
    """The parts of a buffer, in their order, as tensors or arrays.

    B shoppers, S products bought.
    """

    text: Part
    scalars: Part
    rows: Part
    ages: Part
    weights: Part
    type_codes: Part
    """1 + code, [B, S]; likewise of categories and makers."""
    types: Part
    """As `features.GROUP`, and the count, [B, S, 10]."""
    category_codes: Part
    categories: Part
    maker_codes: Part
    makers: Part
    """[B, S, 2]"""
    columns: Part
    """1 + columns of what was bought and, behind it, of what was looked at, [B, S + LOOKED]."""
    items: Part
    bar: Part


_INTEGERS = {"rows", "type_codes", "category_codes", "maker_codes", "columns"}


def size_of(shoppers: Sequence[ShopperInput]) -> BufferSize:
    """Return the least size that they fit in.

    Types, categories and makers bought are not more than products bought.
    """
    most = max(max(len(shopper.groups.rows), len(shopper.bought.columns)) for shopper in shoppers)
    return BufferSize(
        power_of_two(len(shoppers)), max(power_of_two(most), LEAST_BOUGHT), len(shoppers[0].text)
    )


def power_of_two(least: int) -> int:
    """The first from `least` up."""
    return 1 << max(least - 1, 0).bit_length()


def pack(
    shoppers: Sequence[ShopperInput], size: BufferSize, zeros: Callable[[int], Tensor]
) -> Tensor:
    """A buffer made of `zeros`, float32; integers are in it with their own bits."""
    buffer = zeros(sum(map(prod, _shapes(size))))
    to = BufferParts[NDArray[Any]](*(part.numpy() for part in unpack(buffer, size)))  # views
    for b, shopper in enumerate(shoppers):
        to.text[b], to.scalars[b] = shopper.text, shopper.scalars
        to.rows[b], to.ages[b], to.weights[b] = shopper.rows, shopper.ages, shopper.weights
        g, behind = shopper.groups, size.bought
        _put_group(g.type_at, np.c_[g.type, g.type_count], to.type_codes[b], to.types[b])
        _put_group(
            g.category_at,
            np.c_[g.category, g.category_count],
            to.category_codes[b],
            to.categories[b],
        )
        _put_group(g.maker_at, g.maker, to.maker_codes[b], to.makers[b])
        _put_items(shopper.bought, to.columns[b, :behind], to.items[b, :behind], to.bar[b, :behind])
        _put_items(shopper.looked, to.columns[b, behind:], to.items[b, behind:], to.bar[b, behind:])
    return buffer


def unpack(buffer: Tensor, size: BufferSize) -> BufferParts[Tensor]:
    """The parts of a buffer, none copied."""
    shapes = _shapes(size)
    parts = zip(
        BufferParts._fields,
        shapes,
        torch.split(buffer, [prod(shape) for shape in shapes]),
        strict=True,
    )
    return BufferParts(
        *(
            (part.view(torch.int32) if name in _INTEGERS else part).view(shape)
            for name, shape, part in parts
        )
    )


def _shapes(size: BufferSize) -> list[tuple[int, ...]]:
    b, s, text = size
    return [
        (b, text), (b, len(SCALARS)), *[(b, MAX_SEQUENCE)] * 3,
        (b, s), (b, s, GROUP_WIDTH), (b, s), (b, s, GROUP_WIDTH), (b, s), (b, s, len(MAKER)),
        (b, s + LOOKED), (b, s + LOOKED, ITEM_WIDTH), (b, s + LOOKED),
    ]  # fmt: skip


def _put_group(at: NDArray[np.int32], rows: Floats, codes: NDArray[np.int32], to: Floats) -> None:
    there = np.flatnonzero(at)
    codes[: len(there)], to[: len(there)] = there + 1, rows[at[there]]


def _put_items(items: Items, columns: NDArray[np.int32], features: Floats, bar: Floats) -> None:
    n = len(items.columns)
    columns[:n], features[:n], bar[:n] = items.columns + 1, items.features, items.bar
