"""Reads the bytes of a shopper's state, by the layout's description in docs: version 4, little endian."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

FAMILIES = ("purchases", "browses", "reviews", "users")
HEADER = struct.Struct("<B x HHHHHHHH Q IIIIII ddddddd")
WATERMARK = struct.Struct("<iq")
INTERACTION = struct.Struct("<QIB")
BASKET, BROWSED, LOOKS = 10, 8 + 4, 2 + 24
"""Bytes."""
NEWEST, PLACE, AGAIN = struct.Struct("<II"), struct.Struct("<H"), struct.Struct("<IffffIQ")
MARKS_END = HEADER.size + len(FAMILIES) * WATERMARK.size

Watermarks = dict[str, tuple[int, int]]
"""Partition and newest offset folded, by family of topics; -1 where there is none."""


class Counter(NamedTuple):
    """What a shopper bought of one product."""

    count: int
    decay7: float
    decay28: float
    decay112: float
    basket_decay: float
    first: int
    last: int
    basket: int
    ring: int
    """A bit for each of the last 64 baskets that held it, the lowest for `basket`."""


class Totals(NamedTuple):
    """Of all products together."""

    purchases: int
    baskets: int
    first: int
    last: int
    decay28: float
    decay112: float
    reviews: float


class Version(NamedTuple):
    """What is needed of every state in the log."""

    watermarks: Watermarks
    published: list[int]

    @property
    def number(self) -> int:
        """How many records of all topics lie below the watermarks: what a list gives as its version."""
        return sum(offset + 1 for _, offset in self.watermarks.values())


class State(NamedTuple):
    """A shopper's state, whole."""

    watermarks: Watermarks
    sequence: list[tuple[int, int, int]]
    """Product hash, time, kind: the last interactions, oldest first."""
    counters: dict[int, Counter]
    totals: Totals


class Unreadable(ValueError):
    """The bytes are no state."""


def parse_version(value: bytes) -> Version:
    """Read watermarks and published list."""
    sizes = _sizes(value)
    return Version(_watermarks(value), list(struct.unpack_from(f"<{sizes.published}Q", value, sizes.published_at)))


def parse(value: bytes) -> State:
    """Read the rest, too."""
    sizes = _sizes(value)
    sequence = [INTERACTION.unpack_from(value, MARKS_END + i * INTERACTION.size) for i in range(sizes.interactions)]
    at, products = sizes.products_at, sizes.products
    keys = struct.unpack_from(f"<{products}Q", value, at)
    at += 8 * products
    newest = [NEWEST.unpack_from(value, at + i * NEWEST.size) for i in range(products)]
    counters = {
        key: Counter(1, 1, 1, 1, 1, time, time, basket, 1) for key, (time, basket) in zip(keys, newest, strict=True)
    }
    counters |= _again(value, at + products * NEWEST.size, sizes.again, keys, newest)
    if len(counters) < products:
        raise Unreadable("a product twice")
    purchases, baskets, first, last, _, _, decay28, decay112, _, reviews, *_ = HEADER.unpack_from(value)[10:]
    totals = Totals(purchases, baskets, first, last, decay28, decay112, reviews)
    return State(_watermarks(value), sequence, counters, totals)


def _again(
    value: bytes, at: int, count: int, keys: Sequence[int], newest: Sequence[tuple[int, int]]
) -> dict[int, Counter]:
    """Counters of the products bought more than once."""
    counters = {}
    for row, (place,) in enumerate(PLACE.iter_unpack(value[at : at + count * PLACE.size])):
        *counted, first, ring = AGAIN.unpack_from(value, at + count * PLACE.size + row * AGAIN.size)
        counters[keys[place]] = Counter(*counted, first, *newest[place], ring)
    return counters


def shorten(value: bytes) -> bytes:
    """The state without sequence, counters and text: all that is needed of one that is not the last."""
    sizes = _sizes(value)
    header = bytearray(value[: HEADER.size])
    struct.pack_into("<HHHHHHHH", header, 2, 0, 0, 0, 0, sizes.published, 0, 0, 0)
    published = value[sizes.published_at : sizes.published_at + 8 * sizes.published]
    return bytes(header) + value[HEADER.size : MARKS_END] + published


def _watermarks(value: bytes) -> Watermarks:
    return dict(zip(FAMILIES, WATERMARK.iter_unpack(value[HEADER.size : MARKS_END]), strict=True))


class _Sizes(NamedTuple):
    interactions: int
    baskets: int
    products: int
    browsed: int
    published: int
    text: int
    again: int
    looks: int

    @property
    def products_at(self) -> int:
        return MARKS_END + self.interactions * INTERACTION.size + self.baskets * BASKET

    @property
    def published_at(self) -> int:
        products = self.products * (8 + NEWEST.size) + self.again * (PLACE.size + AGAIN.size)
        return self.products_at + products + self.browsed * BROWSED + self.looks * LOOKS


def _sizes(value: bytes) -> _Sizes:
    if len(value) < HEADER.size:
        raise Unreadable(f"{len(value)} bytes")
    version, *counts = HEADER.unpack_from(value)[:9]
    sizes = _Sizes(*counts)
    if version != 4 or sizes.published_at + 8 * sizes.published + sizes.text != len(value):
        raise Unreadable(f"version {version}, {len(value)} bytes")
    return sizes
