"""A shopper's state: the interaction sequence and its decayed counters, in a compact layout; `pprm.fold` keeps it.

Only counters per product are kept. Those per product type, category and maker are sums over them (every counter below
is additive), made from the catalogue when features are computed: an event that arrives before its product's record, or
a product that changes category, needs no repair. So is product popularity: it is the sum over all shoppers.

Binary layout, version 1, little endian, bounded (`MAX_BYTES`): `header | watermarks | sequence | product keys (u64
each) | product counters | published list (u64 each) | profile text`.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.events import SOURCES

VERSION = 1
DAY = 86_400.0
HALF_LIVES = (7.0, 28.0, 112.0)
"""Days after which an interaction counts half, in the three decayed counters."""
BASKET_DECAY = 0.95
"""What a purchase keeps of its weight for each later basket."""

MAX_SEQUENCE = 128
MAX_PRODUCTS = 1024
MAX_PUBLISHED = 100
MAX_TEXT_BYTES = 1024

_HEADER = struct.Struct("<BxHHHH2xQIIIII4xdddd")
# float64: a state that went through bytes between two events must equal one that did not
WATERMARK = struct.Struct("<iq")
INTERACTION = struct.Struct("<QIB3x")
COUNTERS = struct.Struct("<IffffIII")
KEY = struct.Struct("<Q")

MAX_BYTES = (
    _HEADER.size
    + len(SOURCES) * WATERMARK.size
    + MAX_SEQUENCE * INTERACTION.size
    + MAX_PRODUCTS * (KEY.size + COUNTERS.size)
    + MAX_PUBLISHED * KEY.size
    + MAX_TEXT_BYTES
)

SEQUENCE_DTYPE = np.dtype(
    {"names": ["product", "time", "kind"], "formats": ["<u8", "<u4", "u1"], "offsets": [0, 8, 12], "itemsize": 16}
)
COUNTERS_DTYPE = np.dtype(
    [("count", "<u4"), ("decay7", "<f4"), ("decay28", "<f4"), ("decay112", "<f4"), ("basket_decay", "<f4"),
     ("first", "<u4"), ("last", "<u4"), ("basket", "<u4")]
)  # fmt: skip
"""Per product: purchases; the same decayed by `HALF_LIVES` as of `last`; decayed by `BASKET_DECAY` as of `basket`; Unix
seconds of the first and the newest purchase; number of the shopper's basket that held it last."""

_NO_WATERMARKS = WATERMARK.pack(-1, -1) * len(SOURCES)


class StateError(ValueError):
    """The bytes are not a state this version can read."""


@dataclass(slots=True)
class UserState:
    """One shopper. Times are Unix seconds, 0 where there is none yet."""

    purchases: int = 0
    """Purchases counted: distinct products per basket, summed over baskets."""
    baskets: int = 0
    basket: int = 0
    """Key of the current basket."""
    first_purchase: int = 0
    last_purchase: int = 0
    active_at: int = 0
    """The newest event of any kind."""
    basket_decay28: float = 0.0
    basket_decay112: float = 0.0
    """Baskets decayed by 28 and 112 days as of `last_purchase`."""
    sentiment: float = 0.0
    """Sum of review sentiments."""
    reviews: float = 0.0
    watermarks: bytearray = field(default_factory=lambda: bytearray(_NO_WATERMARKS))
    sequence: bytearray = field(default_factory=bytearray)
    keys: bytearray = field(default_factory=bytearray)
    counters: bytearray = field(default_factory=bytearray)
    published: bytes = b""
    text: bytes = b""

    def interactions(self) -> NDArray[Any]:
        """The last `MAX_SEQUENCE` interactions, oldest first, as `SEQUENCE_DTYPE` (a view)."""
        return np.frombuffer(self.sequence, SEQUENCE_DTYPE)

    def product_keys(self) -> NDArray[np.uint64]:
        """Hashes of the products bought (a view), in the order of `product_counters`."""
        return np.frombuffer(self.keys, "<u8")

    def product_counters(self) -> NDArray[Any]:
        """Counters of the products bought as `COUNTERS_DTYPE` (a view)."""
        return np.frombuffer(self.counters, COUNTERS_DTYPE)

    def published_list(self) -> NDArray[np.uint64]:
        """Hashes of the products last recommended, best first (a view)."""
        return np.frombuffer(self.published, "<u8")


def publish(state: UserState, products: Iterable[int]) -> UserState:
    """Return the state with the list (product hashes, best first) that was recommended."""
    return replace(state, published=b"".join(KEY.pack(product) for product in products)[: MAX_PUBLISHED * KEY.size])


def encode(state: UserState) -> bytes:
    """Return the state's bytes."""
    header = _HEADER.pack(
        VERSION,
        len(state.sequence) // INTERACTION.size,
        len(state.keys) // KEY.size,
        len(state.published) // KEY.size,
        len(state.text),
        state.basket,
        state.purchases,
        state.baskets,
        state.first_purchase,
        state.last_purchase,
        state.active_at,
        state.basket_decay28,
        state.basket_decay112,
        state.sentiment,
        state.reviews,
    )
    return b"".join((header, state.watermarks, state.sequence, state.keys, state.counters, state.published, state.text))


def decode(value: bytes | None) -> UserState:
    """Read a state; None is a shopper never seen.

    Raises:
        StateError: another version, or a length that does not fit the header.
    """
    if value is None:
        return UserState()
    if len(value) < _HEADER.size or value[0] != VERSION:
        raise StateError(
            f"not a version {VERSION} user state ({len(value)} bytes, version {value[0] if value else '-'})"
        )
    _, interactions, products, published, text, basket, *scalars = _HEADER.unpack_from(value)
    sizes = (
        len(SOURCES) * WATERMARK.size,
        interactions * INTERACTION.size,
        products * KEY.size,
        products * COUNTERS.size,
        published * KEY.size,
        text,
    )
    if _HEADER.size + sum(sizes) != len(value):
        raise StateError(f"a user state of {_HEADER.size + sum(sizes)} bytes was announced, {len(value)} came")
    parts, at = [], _HEADER.size
    for size in sizes:
        parts.append(value[at : at + size])
        at += size
    purchases, baskets, first, last, active, decay28, decay112, sentiment, reviews = scalars
    return UserState(
        purchases, baskets, basket, first, last, active, decay28, decay112, sentiment, reviews,
        bytearray(parts[0]), bytearray(parts[1]), bytearray(parts[2]), bytearray(parts[3]), parts[4], parts[5],
    )  # fmt: skip
