"""Reads the bytes of a shopper's state, by the layout's description in docs.

Version 6, little endian.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

FAMILIES = ("purchases", "browses", "reviews", "users", "requests")
SLOTS = 6
"""Watermarks of a partition; one is spare."""
HEADER = struct.Struct("<BB HHHHHHHHH QQ IIIIIII ddddddd")
WATERMARK = struct.Struct("<iIqB")
INTERACTION = struct.Struct("<QIB")
BASKET, BROWSED, LOOKS = 14, 8 + 4, 2 + 24
"""Bytes."""
NEWEST, PLACE, AGAIN = struct.Struct("<II"), struct.Struct("<H"), struct.Struct("<IffffIQ")


class Mark(NamedTuple):
    """How far a topic was folded."""

    partition: int = -1
    log: int = 0
    """Of the topic: another one when it was made anew."""
    offset: int = -1


Watermarks = dict[str, list[Mark]]
"""By family of topics: of the shopper's own partition, then of those whose records were re-keyed.
"""


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
    base: int
    """Records below the watermarks of logs that are gone, two each, and lists without a record."""
    listed_at: int
    """As of when the list was made, Unix seconds."""

    @property
    def number(self) -> int:
        """How many records of all topics lie below the watermarks, two each, and the base.

        What a list gives as its version.
        """
        return self.base + 2 * sum(
            mark.offset + 1 for marks in self.watermarks.values() for mark in marks
        )


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
    published = list(struct.unpack_from(f"<{sizes.published}Q", value, sizes.published_at))
    header = HEADER.unpack_from(value)
    return Version(_watermarks(value), published, header[11], header[19])


def parse(value: bytes) -> State:
    """Read the rest, too."""
    sizes = _sizes(value)
    sequence = [
        INTERACTION.unpack_from(value, sizes.sequence_at + i * INTERACTION.size)
        for i in range(sizes.interactions)
    ]
    at, products = sizes.products_at, sizes.products
    keys = struct.unpack_from(f"<{products}Q", value, at)
    at += 8 * products
    newest = [NEWEST.unpack_from(value, at + i * NEWEST.size) for i in range(products)]
    counters = {
        key: Counter(1, 1, 1, 1, 1, time, time, basket, 1)
        for key, (time, basket) in zip(keys, newest, strict=True)
    }
    counters |= _again(value, at + products * NEWEST.size, sizes.again, keys, newest)
    if len(counters) < products:
        raise Unreadable("a product twice")
    purchases, baskets, first, last, _, _, _, decay28, decay112, _, reviews, *_ = (
        HEADER.unpack_from(value)[13:]
    )
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
    """The state without sequence, counters and text.

    All that is needed of one that is not the last.
    """
    sizes = _sizes(value)
    header = bytearray(value[: HEADER.size])
    struct.pack_into("<HHHHHHHHH", header, 2, 0, 0, 0, 0, sizes.published, 0, 0, 0, 0)
    published = value[sizes.published_at : sizes.published_at + 8 * sizes.published]
    return bytes(header) + value[HEADER.size : sizes.sequence_at] + published


def _watermarks(value: bytes) -> Watermarks:
    marks = WATERMARK.iter_unpack(value[HEADER.size : HEADER.size + value[1] * WATERMARK.size])
    held = [Mark(*mark[:3]) for mark in marks]
    return {family: held[place::SLOTS] for place, family in enumerate(FAMILIES)}


class _Sizes(NamedTuple):
    sequence_at: int
    interactions: int
    baskets: int
    products: int
    browsed: int
    published: int
    text: int
    again: int
    looks: int
    hidden: int

    @property
    def products_at(self) -> int:
        return self.sequence_at + self.interactions * INTERACTION.size + self.baskets * BASKET

    @property
    def published_at(self) -> int:
        products = self.products * (8 + NEWEST.size) + self.again * (PLACE.size + AGAIN.size)
        return (
            self.products_at
            + products
            + self.browsed * BROWSED
            + self.looks * LOOKS
            + 8 * self.hidden
        )


def _sizes(value: bytes) -> _Sizes:
    if len(value) < HEADER.size:
        raise Unreadable(f"{len(value)} bytes")
    version, marks, *counts = HEADER.unpack_from(value)[:11]
    marks_end = HEADER.size + marks * WATERMARK.size
    if version != 6 or marks_end > len(value):
        raise Unreadable(f"version {version}, {len(value)} bytes")
    fingerprints = sum(mark[3] for mark in WATERMARK.iter_unpack(value[HEADER.size : marks_end]))
    sizes = _Sizes(marks_end + 4 * fingerprints, *counts)
    if sizes.published_at + 8 * sizes.published + sizes.text != len(value):
        raise Unreadable(f"version {version}, {len(value)} bytes")
    return sizes
