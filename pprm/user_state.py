"""A shopper's state: the interaction sequence and its decayed counters, in a compact layout; `pprm.fold` keeps it.

Only counters per product are kept. Those per product type, category and maker are sums over them (every counter below
is additive), made from the catalogue when features are computed: an event that arrives before its product's record, or
a product that changes category, needs no repair. So is product popularity: it is the sum over all shoppers.

Binary layout, version 1, little endian, bounded (`MAX_BYTES`): `header | watermarks | sequence | product keys (u64
each) | product counters | published list (u64 each) | profile text`.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.events import SOURCES, Kind

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

_HEADER = struct.Struct("<BBHHHHHQIIIIIIdddd")
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

MAX_COUNT = 1 << 31
"""Of anything counted: far above what one shopper can do, and half of what the layout holds."""
_LATEST = 4_102_444_800
"""2100, when events end: see `schemas.limits`."""
_MAX_OFFSET = 1 << 51
"""A sum of them is still a number in JSON."""
_KINDS = bytes(Kind)
_ALL_WATERMARKS = struct.Struct("<" + "iq" * len(SOURCES))
_ONE, _MAX_COUNT = (struct.unpack("<I", struct.pack("<f", value))[0] for value in (1.0, MAX_COUNT))
# Floats from 0 up are in the order of their bits, so that one pass over 8 unsigned columns bounds all of a counter.
_LOWEST = np.array([1, _ONE, _ONE, _ONE, _ONE, 0, 0, 1], "<u4")

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

    @property
    def version(self) -> int:
        """Grows with every event folded: how many records of all sources lie below the watermarks."""
        return sum(offset + 1 for _, offset in WATERMARK.iter_unpack(self.watermarks))

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


def anew(positions: Mapping[int, tuple[int, int]]) -> UserState:
    """State of a shopper whose history is lost, by source its partition and the newest offset that is processed."""
    state = UserState()
    for source, (partition, offset) in positions.items():
        WATERMARK.pack_into(state.watermarks, source * WATERMARK.size, partition, offset)
    return state


def publish(state: UserState, products: Iterable[int]) -> UserState:
    """Return the state with the list (product hashes, best first) that was recommended."""
    return replace(state, published=b"".join(KEY.pack(product) for product in products)[: MAX_PUBLISHED * KEY.size])


def encode(state: UserState) -> bytes:
    """Return the state's bytes."""
    header = _HEADER.pack(
        VERSION,
        0,
        len(state.sequence) // INTERACTION.size,
        len(state.keys) // KEY.size,
        len(state.published) // KEY.size,
        len(state.text),
        0,
        state.basket,
        state.purchases,
        state.baskets,
        state.first_purchase,
        state.last_purchase,
        state.active_at,
        0,
        state.basket_decay28,
        state.basket_decay112,
        state.sentiment,
        state.reviews,
    )
    return b"".join((header, state.watermarks, state.sequence, state.keys, state.counters, state.published, state.text))


def decode(value: bytes | None) -> UserState:
    """Read a state; None is a shopper never seen. What is returned can be folded, scored and encoded.

    Raises:
        StateError: another version, a length that does not fit the header, or values that no fold makes.
    """
    if value is None:
        return UserState()
    if len(value) < _HEADER.size or value[0] != VERSION:
        raise StateError(
            f"not a version {VERSION} user state ({len(value)} bytes, version {value[0] if value else '-'})"
        )
    _, pad, interactions, products, published, text, pad2, basket, *scalars = _HEADER.unpack_from(value)
    if interactions > MAX_SEQUENCE or products > MAX_PRODUCTS or published > MAX_PUBLISHED or text > MAX_TEXT_BYTES:
        raise StateError(f"a user state of {interactions} interactions, {products} products, {published} published")
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
    purchases, baskets, first, last, active, pad3, decay28, decay112, sentiment, reviews = scalars
    state = UserState(
        purchases, baskets, basket, first, last, active, decay28, decay112, sentiment, reviews,
        bytearray(parts[0]), bytearray(parts[1]), bytearray(parts[2]), bytearray(parts[3]), parts[4], parts[5],
    )  # fmt: skip
    if pad or pad2 or pad3 or (wrong := _wrong(state)):
        raise StateError(f"a damaged user state: {'filling' if pad or pad2 or pad3 else wrong}")
    return state


def _wrong(state: UserState) -> str:
    """What in a state no fold makes and would make the next one fail, empty where there is nothing.

    Written so that a NaN is wrong, too.
    """
    if not (state.baskets <= state.purchases < MAX_COUNT and bool(state.baskets) == bool(state.purchases)):
        return "purchases"
    if not (state.first_purchase <= state.last_purchase <= state.active_at < _LATEST):
        return "times"
    if not (0 <= state.basket_decay28 <= state.baskets and 0 <= state.basket_decay112 <= state.baskets):
        return "baskets"
    if not (abs(state.sentiment) <= state.reviews < MAX_COUNT):
        return "reviews"
    return _wrong_part(state)


def _wrong_part(state: UserState) -> str:
    watermarks = _ALL_WATERMARKS.unpack(state.watermarks)
    if min(watermarks) < -1 or max(watermarks) >= _MAX_OFFSET:
        return "watermarks"
    if state.sequence[12 :: INTERACTION.size].strip(_KINDS):
        return "kinds of interactions"
    if state.counters and _counters_are_wrong(state):
        return "product counters"
    try:
        state.text.decode()
    except UnicodeDecodeError:
        return "text"
    return ""


def _counters_are_wrong(state: UserState) -> bool:
    rows = len(state.counters) // COUNTERS.size
    columns = np.ndarray((rows, len(_LOWEST)), "<u4", state.counters)
    # what is below the lowest wraps around to the very large
    count, *decays, first, last, basket = np.maximum.reduce(columns - _LOWEST).tolist()
    decayed = max(decays) > _MAX_COUNT - _ONE
    return bool(count >= MAX_COUNT - 1 or decayed or max(first, last) > state.active_at or basket >= state.baskets)


def follows(value: bytes, held: bytes) -> bool:
    """Whether a state was folded from another one or from a later one, as far as the watermarks can say.

    A state that is older in any source was made by somebody who did not know the one held. Where one of them has no
    readable watermarks there is nothing to compare.
    """
    end = _HEADER.size + len(SOURCES) * WATERMARK.size
    if len(value) < end or len(held) < end:
        return True
    pairs = zip(WATERMARK.iter_unpack(value[_HEADER.size : end]), WATERMARK.iter_unpack(held[_HEADER.size : end]),
                strict=True)  # fmt: skip
    return all(now[0] != before[0] or bool(now[1] >= before[1]) for now, before in pairs)
