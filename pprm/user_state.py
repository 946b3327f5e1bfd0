"""A shopper's state: the interaction sequence and its decayed counters, in a compact layout; `pprm.fold` keeps it.

Only counters per product are kept. Those per product type, category and maker are sums over them (every counter below
is additive), made from the catalogue when features are computed: an event that arrives before its product's record, or
a product that changes category, needs no repair. So is product popularity: it is the sum over all shoppers.

Most products are bought once, and the counters of such a purchase follow from its time and basket: only those of
products bought again are held.

Binary layout, version 3, little endian, bounded (`MAX_BYTES`): `header | watermarks | sequence | baskets | product keys
(u64 each) | newest purchases | places of products bought again (u16 each, into the keys) | their counters | browsed
keys (u64 each) | browse counters | published list (u64 each) | profile text`.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import gt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.compiled import compiled
from pprm.events import SOURCES, Kind
from pprm.ids import stable_hash

VERSION = 3
DAY = 86_400.0
HALF_LIVES = (7.0, 28.0, 112.0)
"""Days after which an interaction counts half, in the three decayed counters."""
BASKET_DECAY = 0.95
"""What a purchase keeps of its weight for each later basket."""

BROWSE_HALF_LIVES = (0.5 / 24, 6 / 24, 7.0)
"""Days after which a look counts half: within a session, a day, a week."""
SENTIMENT_HALF_LIFE = 112.0
"""Days."""
PROMOTION_DECAY = 0.995
"""What a purchase keeps of its weight in the shopper's affinity to promotions for each later purchase."""

MAX_SEQUENCE = 128
MAX_BASKETS = 64
"""Of which times, stores and contents are known: a bit each in a product's `ring`."""
MAX_PRODUCTS = 1024
MAX_BROWSED = 256
MAX_PUBLISHED = 100
MAX_TEXT_BYTES = 1024

_HEADER = struct.Struct("<BBHHHHHHHQIIIIIIddddddd")
# float64: a state that went through bytes between two events must equal one that did not
WATERMARK = struct.Struct("<iq")
INTERACTION = struct.Struct("<QIB")
BASKET = struct.Struct("<IIH")
NEWEST = struct.Struct("<II")
PLACE = struct.Struct("<H")
AGAIN = struct.Struct("<IffffIQ")
BROWSED = struct.Struct("<ffffffI")
KEY = struct.Struct("<Q")

MAX_BYTES = (
    _HEADER.size
    + len(SOURCES) * WATERMARK.size
    + MAX_SEQUENCE * INTERACTION.size
    + MAX_BASKETS * BASKET.size
    + MAX_PRODUCTS * (KEY.size + NEWEST.size + PLACE.size + AGAIN.size)
    + MAX_BROWSED * (KEY.size + BROWSED.size)
    + MAX_PUBLISHED * KEY.size
    + MAX_TEXT_BYTES
)

SEQUENCE_DTYPE = np.dtype([("product", "<u8"), ("time", "<u4"), ("kind", "u1")])
COUNTERS_DTYPE = np.dtype(
    [("count", "<u4"), ("decay7", "<f4"), ("decay28", "<f4"), ("decay112", "<f4"), ("basket_decay", "<f4"),
     ("first", "<u4"), ("last", "<u4"), ("basket", "<u4"), ("ring", "<u8")]
)  # fmt: skip
"""Per product: purchases; the same decayed by `HALF_LIVES` as of `last`; decayed by `BASKET_DECAY` as of `basket`; Unix
seconds of the first and the newest purchase; number of the shopper's basket that held it last; one bit for each of the
`MAX_BASKETS` baskets up to that one that held it, the lowest for that one."""
BASKETS_DTYPE = np.dtype([("time", "<u4"), ("store", "<u4"), ("size", "<u2")])
"""Unix seconds, `store_code` (0: unknown) and products of a basket."""
BROWSED_DTYPE = np.dtype(
    [("session", "<f4"), ("day", "<f4"), ("week", "<f4"), ("cart", "<f4"), ("removed", "<f4"), ("dwell", "<f4"),
     ("last", "<u4")]
)  # fmt: skip
"""Per product looked at, as of `last` (Unix seconds of the newest browse event): looks decayed by `BROWSE_HALF_LIVES`;
additions to the cart, removals, and minutes of dwelling, decayed by a week."""

MAX_COUNT = 1 << 31
"""Of anything counted: far above what one shopper can do, and half of what the layout holds."""
_LATEST = 4_102_444_800
"""2100, when events end: see `schemas.limits`."""
_MAX_OFFSET = 1 << 51
"""A sum of them is still a number in JSON."""
_KINDS = bytes(Kind)
WATERMARKS = struct.Struct("<" + "iq" * len(SOURCES))
_ONE, _MAX_COUNT = (struct.unpack("<I", struct.pack("<f", value))[0] for value in (1.0, MAX_COUNT))

_WORDS = COUNTERS_DTYPE.itemsize // 4
_AGAIN_WORDS = AGAIN.size // 4

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
    """Sum of review sentiments, decayed by `SENTIMENT_HALF_LIFE` as of `reviewed_at`."""
    reviews: float = 0.0
    """Number of reviews, decayed alike."""
    promotions: float = 0.0
    """Purchases whose promotion is known, decayed by `PROMOTION_DECAY`; of these, in sum, the shares of stores ..."""
    mailer: float = 0.0
    """... that had the product in the mailer,"""
    display: float = 0.0
    """... or on display, when it was bought."""
    reviewed_at: int = 0
    watermarks: bytearray = field(default_factory=lambda: bytearray(_NO_WATERMARKS))
    sequence: bytearray = field(default_factory=bytearray)
    visits: bytearray = field(default_factory=bytearray)
    """The last `MAX_BASKETS` baskets, oldest first."""
    keys: bytearray = field(default_factory=bytearray)
    newest: bytearray = field(default_factory=bytearray)
    """Of each product, as `NEWEST`: Unix seconds of the newest purchase, number of the basket that held it last."""
    places: bytearray = field(default_factory=bytearray)
    """Which of the products were bought again, as `PLACE`."""
    again: bytearray = field(default_factory=bytearray)
    """Of each of these, as `AGAIN`: what `COUNTERS_DTYPE` has besides."""
    browsed_keys: bytearray = field(default_factory=bytearray)
    browsed: bytearray = field(default_factory=bytearray)
    published: bytes = b""
    text: bytes = b""

    @property
    def version(self) -> int:
        """Grows with every event folded: how many records of all sources lie below the watermarks."""
        return sum(offset + 1 for _, offset in WATERMARK.iter_unpack(self.watermarks))

    def interactions(self) -> NDArray[Any]:
        """The last `MAX_SEQUENCE` interactions, oldest first, as `SEQUENCE_DTYPE` (a view)."""
        return np.frombuffer(self.sequence, SEQUENCE_DTYPE)

    def recent_baskets(self) -> NDArray[Any]:
        """The last `MAX_BASKETS` baskets, oldest first, as `BASKETS_DTYPE` (a view)."""
        return np.frombuffer(self.visits, BASKETS_DTYPE)

    def looked_at(self) -> tuple[NDArray[np.uint64], NDArray[Any]]:
        """Hashes of the products looked at, and their counters as `BROWSED_DTYPE` (views)."""
        return np.frombuffer(self.browsed_keys, "<u8"), np.frombuffer(self.browsed, BROWSED_DTYPE)

    def product_keys(self) -> NDArray[np.uint64]:
        """Hashes of the products bought (a view), in the order of `product_counters`."""
        return np.frombuffer(self.keys, "<u8")

    def product_counters(self) -> NDArray[Any]:
        """Counters of the products bought as `COUNTERS_DTYPE`."""
        words = np.empty(len(self.newest) // NEWEST.size * _WORDS, "<u4")
        _expand(
            words,
            np.frombuffer(self.newest, "<u4"),
            np.frombuffer(self.places, "<u2"),
            np.frombuffer(self.again, "<u4"),
        )
        return words.view(COUNTERS_DTYPE)

    def published_list(self) -> NDArray[np.uint64]:
        """Hashes of the products last recommended, best first (a view)."""
        return np.frombuffer(self.published, "<u8")


@lru_cache(maxsize=1 << 14)
def store_code(store_id: str | None) -> int:
    """A store in 32 bits, 0 where it is unknown."""
    return (stable_hash(store_id) & 0xFFFFFFFF or 1) if store_id else 0


def anew(positions: Mapping[int, tuple[int, int]]) -> UserState:
    """State of a shopper whose history is lost, by source its partition and the newest offset that is processed."""
    state = UserState()
    for source, (partition, offset) in positions.items():
        WATERMARK.pack_into(state.watermarks, source * WATERMARK.size, partition, offset)
    return state


def publish(state: UserState, products: Iterable[int]) -> UserState:
    """Note the list (product hashes, best first) that was recommended; returns the state."""
    first = list(products)[:MAX_PUBLISHED]
    state.published = struct.pack(f"<{len(first)}Q", *first)
    return state


def encode(state: UserState) -> bytes:
    """Return the state's bytes."""
    header = _HEADER.pack(
        VERSION,
        0,
        len(state.sequence) // INTERACTION.size,
        len(state.visits) // BASKET.size,
        len(state.keys) // KEY.size,
        len(state.browsed_keys) // KEY.size,
        len(state.published) // KEY.size,
        len(state.text),
        len(state.places) // PLACE.size,
        state.basket,
        state.purchases,
        state.baskets,
        state.first_purchase,
        state.last_purchase,
        state.active_at,
        state.reviewed_at,
        state.basket_decay28,
        state.basket_decay112,
        state.sentiment,
        state.reviews,
        state.promotions,
        state.mailer,
        state.display,
    )
    return b"".join(
        (header, state.watermarks, state.sequence, state.visits, state.keys, state.newest, state.places,
         state.again, state.browsed_keys, state.browsed, state.published, state.text)
    )  # fmt: skip


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
    (
        _, filling, *counts, basket, purchases, baskets, first, last, active, reviewed_at,
        decay28, decay112, sentiment, reviews, promotions, mailer, display,
    ) = _HEADER.unpack_from(value)  # fmt: skip
    parts = _parts(value, counts)
    marks, sequence, visits, keys, newest, places, again, browsed_keys, browsed = map(bytearray, parts[:9])
    state = UserState(
        purchases, baskets, basket, first, last, active, decay28, decay112, sentiment, reviews,
        promotions, mailer, display, reviewed_at,
        marks, sequence, visits, keys, newest, places, again, browsed_keys, browsed, parts[9], parts[10],
    )  # fmt: skip
    if filling or (wrong := _wrong(state)):
        raise StateError(f"a damaged user state: {'filling' if filling else wrong}")
    return state


_LIMITS = (MAX_SEQUENCE, MAX_BASKETS, MAX_PRODUCTS, MAX_BROWSED, MAX_PUBLISHED, MAX_TEXT_BYTES, MAX_PRODUCTS)


def _parts(value: bytes, counts: list[int]) -> list[bytes]:
    """Cut what follows the header, by the header's counts of `_LIMITS`."""
    if any(map(gt, counts, _LIMITS)):
        raise StateError(f"a user state of {counts} parts, at most {_LIMITS} are possible")
    interactions, visits, products, browsed, published, text, again = counts
    sizes = (
        len(SOURCES) * WATERMARK.size, interactions * INTERACTION.size, visits * BASKET.size,
        products * KEY.size, products * NEWEST.size, again * PLACE.size, again * AGAIN.size,
        browsed * KEY.size, browsed * BROWSED.size, published * KEY.size, text,
    )  # fmt: skip
    cuts = list(accumulate(sizes, initial=_HEADER.size))
    if cuts[-1] != len(value):
        raise StateError(f"a user state of {cuts[-1]} bytes was announced, {len(value)} came")
    return [value[start:stop] for start, stop in pairwise(cuts)]


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
    if not (abs(state.sentiment) <= state.reviews < MAX_COUNT and state.reviewed_at <= state.active_at):
        return "reviews"
    affinity = (state.mailer, state.display)
    if not (min(affinity) >= 0 and max(affinity) <= state.promotions * 1.001 < MAX_COUNT):
        return "promotions"
    return _wrong_part(state)


def _wrong_part(state: UserState) -> str:
    watermarks = WATERMARKS.unpack(state.watermarks)
    if min(watermarks) < -1 or max(watermarks) >= _MAX_OFFSET:
        return "watermarks"
    if state.sequence[12 :: INTERACTION.size].strip(_KINDS):
        return "kinds of interactions"
    if len(state.visits) != min(state.baskets, MAX_BASKETS) * BASKET.size:
        return "baskets"
    if (state.keys or state.places) and _products_are_wrong(state):
        return "product counters"
    if state.browsed and _browsed_is_wrong(state):
        return "browse counters"
    try:
        state.text.decode()
    except UnicodeDecodeError:
        return "text"
    return ""


def _products_are_wrong(state: UserState) -> bool:
    newest = np.frombuffer(state.newest, "<u4")
    if _purchases_are_wrong(newest, state.active_at, state.baskets):
        return True
    if not state.places:
        return False
    places, again = np.frombuffer(state.places, "<u2"), np.frombuffer(state.again, "<u4")
    return _counters_are_wrong(places, again, len(newest) // 2, state.active_at)


@compiled
def _purchases_are_wrong(newest: NDArray[np.uint32], active_at: int, baskets: int) -> bool:
    """Whether any time or basket is wrong, given in turns."""
    for at in range(0, len(newest), 2):  # noqa: SIM110  # numba compiles no generator
        if newest[at] > active_at or not 1 <= newest[at + 1] <= baskets:
            return True
    return False


@compiled
def _counters_are_wrong(places: NDArray[np.uint16], again: NDArray[np.uint32], products: int, active_at: int) -> bool:
    """Whether any place or counter is wrong; these in words of 4 bytes.

    Floats from 0 up are in the order of their bits; a NaN and what is negative are above all of them.
    """
    for row in range(len(places)):
        at = row * _AGAIN_WORDS
        if places[row] >= products or not 2 <= again[at] < MAX_COUNT or again[at + 5] > active_at:
            return True
        for decayed in range(at + 1, at + 5):
            if not _ONE <= again[decayed] <= _MAX_COUNT:
                return True
    return False


@compiled
def _expand(
    words: NDArray[np.uint32], newest: NDArray[np.uint32], places: NDArray[np.uint16], again: NDArray[np.uint32]
) -> None:
    """Fill in counters as `COUNTERS_DTYPE`; all but the places in words of 4 bytes."""
    for product in range(len(newest) // 2):
        at, time, basket = product * _WORDS, newest[2 * product], newest[2 * product + 1]
        words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4] = 1, _ONE, _ONE, _ONE, _ONE
        words[at + 5], words[at + 6], words[at + 7], words[at + 8], words[at + 9] = time, time, basket, 1, 0
    for row in range(len(places)):
        at, of = places[row] * _WORDS, row * _AGAIN_WORDS
        for word in range(6):
            words[at + word] = again[of + word]
        words[at + 8], words[at + 9] = again[of + 6], again[of + 7]


def _browsed_is_wrong(state: UserState) -> bool:
    _, counters = state.looked_at()
    decayed = np.ndarray((len(counters), 6), "<f4", state.browsed, strides=(BROWSED.size, 4))
    bounded = bool((decayed >= 0).all() and (decayed < MAX_COUNT).all())  # a NaN is neither
    return not bounded or int(counters["last"].max()) > state.active_at


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
