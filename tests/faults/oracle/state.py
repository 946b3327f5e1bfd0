"""Reads the bytes of a shopper's state, by the layout's description in docs: version 1, little endian."""

import struct
from typing import NamedTuple

FAMILIES = ("purchases", "browses", "reviews", "users")
HEADER = struct.Struct("<B x HHHH 2x Q IIIII 4x dddd")
WATERMARK = struct.Struct("<iq")
INTERACTION = struct.Struct("<QIB3x")
COUNTER = struct.Struct("<IffffIII")
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
    interactions, products, published = _sizes(value)
    at = _counters_at(interactions) + products * (8 + COUNTER.size)
    return Version(_watermarks(value), list(struct.unpack_from(f"<{published}Q", value, at)))


def parse(value: bytes) -> State:
    """Read the rest, too."""
    interactions, products, _ = _sizes(value)
    sequence = [INTERACTION.unpack_from(value, MARKS_END + i * INTERACTION.size) for i in range(interactions)]
    at = _counters_at(interactions)
    keys = struct.unpack_from(f"<{products}Q", value, at)
    at += 8 * products
    counters = {key: Counter(*COUNTER.unpack_from(value, at + i * COUNTER.size)) for i, key in enumerate(keys)}
    if len(counters) < products:
        raise Unreadable("a product twice")
    *_, purchases, baskets, first, last, _, decay28, decay112, _, reviews = HEADER.unpack_from(value)
    totals = Totals(purchases, baskets, first, last, decay28, decay112, reviews)
    return State(_watermarks(value), sequence, counters, totals)


def shorten(value: bytes) -> bytes:
    """The state without sequence, counters and text: all that is needed of one that is not the last."""
    interactions, products, published = _sizes(value)
    at = _counters_at(interactions) + products * (8 + COUNTER.size)
    header = bytearray(value[: HEADER.size])
    struct.pack_into("<HHHH", header, 2, 0, 0, published, 0)
    return bytes(header) + value[HEADER.size : MARKS_END] + value[at : at + 8 * published]


def _watermarks(value: bytes) -> Watermarks:
    return dict(zip(FAMILIES, WATERMARK.iter_unpack(value[HEADER.size : MARKS_END]), strict=True))


def _counters_at(interactions: int) -> int:
    return MARKS_END + interactions * INTERACTION.size


def _sizes(value: bytes) -> tuple[int, int, int]:
    if len(value) < HEADER.size:
        raise Unreadable(f"{len(value)} bytes")
    version, interactions, products, published, text, *_ = HEADER.unpack_from(value)
    size = _counters_at(interactions) + products * (8 + COUNTER.size) + 8 * published + text
    if version != 1 or size != len(value):
        raise Unreadable(f"version {version}, {len(value)} bytes")
    return interactions, products, published
