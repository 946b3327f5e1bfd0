"""A shopper's state: the interaction sequence and its decayed counters, in a compact layout.

`pprm.state.fold` keeps it.

Only counters per product are kept. Those per product type, category and maker are sums over them
(every counter below is additive), made from the catalogue when features are computed: an event that
arrives before its product's record, or a product that changes category, needs no repair. So is
product popularity: it is the sum over all shoppers.

Most products are bought once, and the counters of such a purchase follow from its time and basket:
only those of products bought again are held. Alike of products looked at: what one look without a
dwelling time comes to follows from its time.

Binary layout, version 6, little endian, bounded (`MAX_BYTES`): `header | watermarks | fingerprints
of events (u32 each, topic by topic) | sequence | baskets | product keys (u64 each) | newest
purchases | places of products bought again (u16 each, into the keys) | their counters | browsed
keys (u64 each) | newest looks (u32 each) | places of products whose looks are held (u16 each, into
the browsed keys) | their counters | hidden products (u64 each) | published list (u64 each) |
profile text`. Versions 3 to 5 are read, too.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pprm.core.compiled import compiled, part, record
from pprm.core.events import ACTS, SLOTS
from pprm.core.ids import stable_hash
from pprm.state import layout3, layout4, layout5, watermarks
from pprm.state.watermarks import (
    FINGERPRINT,
    MAX_BASE,
    MAX_FINGERPRINTS,
    MAX_OFFSET,
    MAX_WATERMARKS,
    WATERMARK,
)

VERSION = 6
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
"""What a purchase keeps of its weight in the affinity to promotions with each later purchase."""

MAX_SEQUENCE = 128
MAX_BASKETS = 64
"""Baskets whose times and stores are kept; a product's `ring` has a bit for each of them."""
MAX_PRODUCTS = 1024
MAX_BROWSED = 256
MAX_HIDDEN = 128
"""Products that the shopper does not want to see; the oldest goes."""
MAX_PUBLISHED = 100
MAX_TEXT_BYTES = 1024

_HEADER = struct.Struct("<BBHHHHHHHHHQQIIIIIIIddddddd")
# float64: a state that went through bytes between two events must equal one that did not
INTERACTION = struct.Struct("<QIB")
BASKET = struct.Struct("<IIIH")
NEWEST = struct.Struct("<II")
PLACE = struct.Struct("<H")
AGAIN = struct.Struct("<IffffIQ")
TIME = struct.Struct("<I")
LOOKS = struct.Struct("<ffffff")
KEY = struct.Struct("<Q")

MAX_BYTES = (
    _HEADER.size
    + MAX_WATERMARKS * WATERMARK.size
    + SLOTS * MAX_FINGERPRINTS * FINGERPRINT.size
    + MAX_SEQUENCE * INTERACTION.size
    + MAX_BASKETS * BASKET.size
    + MAX_PRODUCTS * (KEY.size + NEWEST.size + PLACE.size + AGAIN.size)
    + MAX_BROWSED * (KEY.size + TIME.size + PLACE.size + LOOKS.size)
    + (MAX_HIDDEN + MAX_PUBLISHED) * KEY.size
    + MAX_TEXT_BYTES
)

SEQUENCE_DTYPE = record([("product", "<u8"), ("time", "<u4"), ("kind", "u1")])
COUNTERS_DTYPE = record(
    [("count", "<u4"), ("decay7", "<f4"), ("decay28", "<f4"), ("decay112", "<f4"), ("basket_decay",
    "<f4"),
     ("first", "<u4"), ("last", "<u4"), ("basket", "<u4"), ("ring", "<u8")]
)  # fmt: skip
"""Counters of a product bought.

Number of purchases; the same decayed by `HALF_LIVES` as of `last`, and by `BASKET_DECAY` as of
`basket`; Unix seconds of the first and the newest purchase; number of the shopper's basket that
held it last; one bit for each of the `MAX_BASKETS` baskets up to that one that held it, the lowest
for that one.
"""
BASKETS_DTYPE = record([("time", "<u4"), ("store", "<u4"), ("key", "<u4"), ("size", "<u2")])
"""Unix seconds, `store_code` (0: unknown), `basket_code` (0: unknown) and products of a basket."""
BROWSED_DTYPE = record(
    [("session", "<f4"), ("day", "<f4"), ("week", "<f4"), ("cart", "<f4"), ("removed", "<f4"),
    ("dwell", "<f4"),
     ("last", "<u4")]
)  # fmt: skip
"""Counters of a product looked at.

All are as of `last` (Unix seconds of the newest browse event): looks decayed by
`BROWSE_HALF_LIVES`; additions to the cart, removals, and minutes of dwelling, decayed by a week.
"""

MAX_COUNT = 1 << 31
"""Most of anything counted: far above one shopper's acts, half of what the layout holds."""
_LATEST = 4_102_444_800
"""2100, when events end: see `schemas.limits`."""
_KINDS = len(ACTS)
(_ONE,) = struct.unpack("<I", struct.pack("<f", 1.0))

_WORDS = COUNTERS_DTYPE.itemsize // 4
_AGAIN_WORDS = AGAIN.size // 4

_HEADER_DTYPE = record(
    [("version", "u1"), ("watermarks", "u1"), ("interactions", "<u2"), ("visits", "<u2"),
    ("products", "<u2"),
     ("browsed", "<u2"), ("published", "<u2"), ("text", "<u2"), ("again", "<u2"), ("looks", "<u2"),
     ("hidden", "<u2"), ("version_base", "<u8"), ("basket", "<u8"),
     ("purchases", "<u4"), ("baskets", "<u4"), ("first_purchase", "<u4"), ("last_purchase", "<u4"),
     ("active_at", "<u4"), ("reviewed_at", "<u4"), ("listed_at", "<u4"), ("basket_decay28", "<f8"),
     ("basket_decay112", "<f8"),
     ("sentiment", "<f8"), ("reviews", "<f8"), ("promotions", "<f8"), ("mailer", "<f8"),
     ("display", "<f8")]
)  # fmt: skip
_LOOKS_DTYPE = record(
    [(name, "<f4") for name in ("session", "day", "week", "cart", "removed", "dwell")]
)
_WATERMARK_DTYPE = record(
    [("partition", "<i4"), ("log", "<u4"), ("offset", "<i8"), ("fingerprints", "u1")]
)
_NEWEST_DTYPE = record([("time", "<u4"), ("basket", "<u4")])
_AGAIN_DTYPE = record(
    [("count", "<u4"), ("decay7", "<f4"), ("decay28", "<f4"), ("decay112", "<f4"), ("basket_decay",
    "<f4"),
     ("first", "<u4"), ("ring", "<u8")]
)  # fmt: skip
_HEADER_BYTES, _KEY_BYTES, _INTERACTION_BYTES, _BASKET_BYTES = (
    _HEADER.size,
    KEY.size,
    INTERACTION.size,
    BASKET.size,
)
_NEWEST_BYTES, _PLACE_BYTES, _AGAIN_BYTES, _TIME_BYTES = (
    NEWEST.size,
    PLACE.size,
    AGAIN.size,
    TIME.size,
)
_LOOKS_BYTES, _WATERMARK_BYTES, _FINGERPRINT_BYTES = LOOKS.size, WATERMARK.size, FINGERPRINT.size


class StateError(ValueError):
    """The bytes are not a state this version can read."""


class UserState(Struct, gc=False):
    """One shopper. Times are Unix seconds, 0 where there is none yet.

    The parts of the layout are bytes that are never changed but replaced: to copy a state copies
    none of them.
    """

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
    """Purchases with a known promotion, decayed by `PROMOTION_DECAY`; then their summed shares."""
    mailer: float = 0.0
    """... that had the product in the mailer,"""
    display: float = 0.0
    """... or on display, when it was bought."""
    reviewed_at: int = 0
    listed_at: int = 0
    """The event time as of which the list in force was made; 0: unknown."""
    base: int = 0
    """What counts in `version` beside the watermarks.

    The records below those that were replaced, and lists that no record of the shopper asked for.
    """
    watermarks: bytes = b""
    """By topic (`events.SOURCES`), as `WATERMARK`; those that are missing are none."""
    fingerprints: bytes = b""
    """Of each topic's last events, as `FINGERPRINT`: how many, the watermarks say."""
    sequence: bytes = b""
    visits: bytes = b""
    """The last `MAX_BASKETS` baskets, oldest first."""
    keys: bytes = b""
    newest: bytes = b""
    """Per product, as `NEWEST`: Unix seconds of its newest purchase, number of its last basket."""
    places: bytes = b""
    """Which of the products were bought again, as `PLACE`."""
    again: bytes = b""
    """Of each of these, as `AGAIN`: what `COUNTERS_DTYPE` has besides."""
    browsed_keys: bytes = b""
    browsed_at: bytes = b""
    """Of each product looked at, as `TIME`: Unix seconds of the newest browse event."""
    look_places: bytes = b""
    """Which of these were more than looked at once, as `PLACE`."""
    looks: bytes = b""
    """Of each of those, as `LOOKS`: what `BROWSED_DTYPE` has besides."""
    hidden: bytes = b""
    """Products that are never to be recommended, the newest last."""
    published: bytes = b""
    text: bytes = b""

    @property
    def version(self) -> int:
        """Return a number that grows with every event folded, and with every list made without one.

        It counts the records of all sources that lie below the watermarks, or once did.
        """
        return watermarks.version(self.base, self.watermarks)

    def interactions(self) -> NDArray[Any]:
        """The last `MAX_SEQUENCE` interactions, oldest first, as `SEQUENCE_DTYPE` (a view)."""
        return np.frombuffer(self.sequence, SEQUENCE_DTYPE)

    def recent_baskets(self) -> NDArray[Any]:
        """The last `MAX_BASKETS` baskets, oldest first, as `BASKETS_DTYPE` (a view)."""
        return np.frombuffer(self.visits, BASKETS_DTYPE)

    def looked_at(self) -> tuple[NDArray[np.uint64], NDArray[Any]]:
        """Hashes of the products looked at (a view), and their counters as `BROWSED_DTYPE`."""
        counters = np.empty(len(self.browsed_at) // TIME.size, BROWSED_DTYPE)
        _expand_looks(counters, self.browsed_at, self.look_places, self.looks)
        return np.frombuffer(self.browsed_keys, "<u8"), counters

    def product_keys(self) -> NDArray[np.uint64]:
        """Hashes of the products bought (a view), in the order of `product_counters`."""
        return np.frombuffer(self.keys, "<u8")

    def product_counters(self) -> NDArray[Any]:
        """Counters of the products bought as `COUNTERS_DTYPE`."""
        words = np.empty(len(self.newest) // NEWEST.size * _WORDS, "<u4")
        _expand(words, self.newest, self.places, self.again)
        return words.view(COUNTERS_DTYPE)

    def hidden_products(self) -> NDArray[np.uint64]:
        """Hashes of the products never to be recommended (a view)."""
        return np.frombuffer(self.hidden, "<u8")

    def published_list(self) -> NDArray[np.uint64]:
        """Hashes of the products last recommended, best first (a view)."""
        return np.frombuffer(self.published, "<u8")


def packed(counters: NDArray[Any]) -> tuple[bytes, bytes, bytes]:
    """Return `newest`, `places` and `again` of counters: the inverse of `product_counters`."""
    newest = np.empty(len(counters), _NEWEST_DTYPE)
    newest["time"], newest["basket"] = counters["last"], counters["basket"]
    places = np.flatnonzero(counters["count"] > 1)
    again = np.empty(len(places), _AGAIN_DTYPE)
    for name in _AGAIN_DTYPE.names or ():
        again[name] = counters[name][places]
    return newest.tobytes(), places.astype("<u2").tobytes(), again.tobytes()


def counters_of(states: Sequence[UserState]) -> NDArray[Any]:
    """Return the counters of all products of these states, one state after the other."""
    ends = np.cumsum([len(state.newest) // NEWEST.size * _WORDS for state in states]).tolist()
    words = np.empty(ends[-1] if ends else 0, "<u4")
    for state, start, end in zip(states, [0, *ends], ends, strict=False):
        _expand(words[start:end], state.newest, state.places, state.again)
    return words.view(COUNTERS_DTYPE)


@lru_cache(maxsize=1 << 14)
def store_code(store_id: str | None) -> int:
    """A store in 32 bits, 0 where it is unknown."""
    return (stable_hash(store_id) & 0xFFFFFFFF or 1) if store_id else 0


def basket_code(basket: int) -> int:
    """A basket's key in 32 bits, never 0."""
    return basket & 0xFFFFFFFF or 1


def anew(positions: Iterable[watermarks.Mark], base: int = 0) -> UserState:
    """Make the state of a shopper whose history is lost.

    `positions` has by source the partition, the log and the newest offset processed.
    """
    return UserState(base=base, watermarks=watermarks.pack(positions))


def publish(state: UserState, products: Iterable[int], at: int) -> UserState:
    """Note the list (product hashes, best first) that was recommended; returns the state.

    `at` is Unix seconds, event time: as of when the list was made.
    """
    first = list(products)[:MAX_PUBLISHED]
    state.published, state.listed_at = struct.pack(f"<{len(first)}Q", *first), at
    return state


def publish_unasked(state: UserState, products: Iterable[int], at: int) -> UserState:
    """`publish` a list that no record of the shopper asked for: the version grows with it."""
    state.base = min(state.base + 1, MAX_BASE)
    return publish(state, products, at)


def encode(state: UserState) -> bytes:
    """Return the state's bytes."""
    header = _HEADER.pack(
        VERSION,
        len(state.watermarks) // WATERMARK.size,
        len(state.sequence) // INTERACTION.size,
        len(state.visits) // BASKET.size,
        len(state.keys) // KEY.size,
        len(state.browsed_keys) // KEY.size,
        len(state.published) // KEY.size,
        len(state.text),
        len(state.places) // PLACE.size,
        len(state.look_places) // PLACE.size,
        len(state.hidden) // KEY.size,
        state.base,
        state.basket,
        state.purchases,
        state.baskets,
        state.first_purchase,
        state.last_purchase,
        state.active_at,
        state.reviewed_at,
        state.listed_at,
        state.basket_decay28,
        state.basket_decay112,
        state.sentiment,
        state.reviews,
        state.promotions,
        state.mailer,
        state.display,
    )
    return b"".join(
        (header, state.watermarks, state.fingerprints, state.sequence, state.visits, state.keys,
        state.newest,
         state.places, state.again, state.browsed_keys, state.browsed_at, state.look_places,
         state.looks, state.hidden,
         state.published, state.text)
    )  # fmt: skip


def decode(value: bytes | None) -> UserState:
    """Read a state; None is a shopper never seen.

    What is returned can be folded, scored and encoded.

    Raises:
        StateError: another version, a length that does not fit the header, or values that no fold
        makes.
    """
    if value is None:
        return UserState()
    value = _of_today(value)
    if len(value) < _HEADER.size or value[0] != VERSION:
        raise StateError(
            f"not a version {VERSION} user state ({len(value)} bytes, version"
            f" {value[0] if value else '-'})"
        )
    if wrong := _wrong(value):
        raise StateError(f"a damaged user state of {len(value)} bytes: {wrong}")
    (
        _, marks, interactions, visits, products, browsed, published, _, again, looks, hidden, base,
        basket, purchases,
        baskets, first, last, active, reviewed_at, listed_at, decay28, decay112, sentiment, reviews,
        promotions, mailer, display,
    ) = _HEADER.unpack_from(value)  # fmt: skip
    marks_end = _HEADER.size + marks * WATERMARK.size  # written out: a loop takes twice as long
    known = value[_HEADER.size : marks_end]
    seen_end = marks_end + watermarks.fingerprints(known) * FINGERPRINT.size
    sequence_end = seen_end + interactions * INTERACTION.size
    visits_end = sequence_end + visits * BASKET.size
    keys_end = visits_end + products * KEY.size
    newest_end = keys_end + products * NEWEST.size
    places_end = newest_end + again * PLACE.size
    again_end = places_end + again * AGAIN.size
    browsed_keys_end = again_end + browsed * KEY.size
    browsed_at_end = browsed_keys_end + browsed * TIME.size
    look_places_end = browsed_at_end + looks * PLACE.size
    looks_end = look_places_end + looks * LOOKS.size
    hidden_end = looks_end + hidden * KEY.size
    published_end = hidden_end + published * KEY.size
    text = value[published_end:]
    if text and not _is_utf8(text):
        raise StateError("a damaged user state: text")
    return UserState(
        purchases, baskets, basket, first, last, active, decay28, decay112, sentiment, reviews,
        promotions, mailer,
        display, reviewed_at, listed_at, base, known, value[marks_end:seen_end],
        value[seen_end:sequence_end], value[sequence_end:visits_end], value[visits_end:keys_end],
        value[keys_end:newest_end], value[newest_end:places_end], value[places_end:again_end],
        value[again_end:browsed_keys_end],
        value[browsed_keys_end:browsed_at_end], value[browsed_at_end:look_places_end],
        value[look_places_end:looks_end], value[looks_end:hidden_end],
        value[hidden_end:published_end], text,
    )  # fmt: skip


def _of_today(value: bytes) -> bytes:
    """Return a state of an earlier layout in today's layout."""
    if value[:1] == layout3.TAG:
        value = layout3.to_layout_4(value)
    if value[:1] == layout4.TAG:
        value = layout4.to_layout_5(value)
    return layout5.to_layout_6(value) if value[:1] == layout5.TAG else value


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@compiled
def _wrong(value: bytes) -> str:
    """Describe what is wrong in a state with a header, empty if nothing is.

    Wrong is what no fold makes and what would make the next fold fail. A NaN is wrong, too. One
    compiled pass over the bytes: each call of numpy costs more than checking a small state.
    """
    data = np.frombuffer(value, np.uint8)
    h = data[:_HEADER_BYTES].view(_HEADER_DTYPE)[0]
    fingerprints = _HEADER_BYTES + h.watermarks * _WATERMARK_BYTES
    if h.watermarks > MAX_WATERMARKS or fingerprints > len(data):
        return "watermarks"
    marks = data[_HEADER_BYTES:fingerprints].view(_WATERMARK_DTYPE)
    if _watermarks_are_wrong(marks):
        return "watermarks"
    sequence = fingerprints + _fingerprints(marks) * _FINGERPRINT_BYTES
    sequence_end = sequence + h.interactions * _INTERACTION_BYTES
    newest = sequence_end + h.visits * _BASKET_BYTES + h.products * _KEY_BYTES
    places = newest + h.products * _NEWEST_BYTES
    again = places + h.again * _PLACE_BYTES
    again_end = again + h.again * _AGAIN_BYTES
    browsed_at = again_end + h.browsed * _KEY_BYTES
    look_places = browsed_at + h.browsed * _TIME_BYTES
    looks = look_places + h.looks * _PLACE_BYTES
    looks_end = looks + h.looks * _LOOKS_BYTES
    if looks_end + (h.hidden + h.published) * _KEY_BYTES + h.text != len(data):
        return "another length than was announced"
    wrong = _wrong_header(h)
    if wrong:
        return wrong
    if _sequence_is_wrong(data[sequence:sequence_end].view(SEQUENCE_DTYPE)):
        return "kinds of interactions"
    if _products_are_wrong(
        data[newest:places].view(_NEWEST_DTYPE), data[places:again].view(np.uint16),
        data[again : again + h.again * _AGAIN_BYTES].view(_AGAIN_DTYPE), h,
    ):  # fmt: skip
        return "product counters"
    if _looks_are_wrong(
        data[browsed_at:look_places].view(np.uint32), data[look_places:looks].view(np.uint16),
        data[looks:looks_end].view(np.float32), h.active_at,
    ):  # fmt: skip
        return "browse counters"
    return ""


@part
def _holds_too_much(header: Any) -> Any:
    return (
        header.interactions > MAX_SEQUENCE or header.visits > MAX_BASKETS
        or header.products > MAX_PRODUCTS or header.again > MAX_PRODUCTS
        or header.browsed > MAX_BROWSED or header.looks > MAX_BROWSED
        or header.published > MAX_PUBLISHED or header.text > MAX_TEXT_BYTES
        or header.hidden > MAX_HIDDEN
    )  # fmt: skip


@part
def _wrong_header(header: Any) -> str:
    if _holds_too_much(header):
        return "more parts than are possible"
    if not header.version_base <= MAX_BASE:
        return "base"
    if not (
        header.baskets < MAX_COUNT
        and header.purchases < MAX_COUNT
        and (header.baskets > 0 or header.purchases == 0)
    ):
        return "purchases"
    in_order = header.first_purchase <= header.last_purchase <= header.active_at
    if not (in_order and header.active_at < _LATEST and header.listed_at < _LATEST):
        return "times"
    decayed = (
        0 <= header.basket_decay28 <= header.baskets
        and 0 <= header.basket_decay112 <= header.baskets
    )
    if not decayed or header.visits != min(header.baskets, MAX_BASKETS):
        return "baskets"
    if not (
        abs(header.sentiment) <= header.reviews < MAX_COUNT
        and header.reviewed_at <= header.active_at
    ):
        return "reviews"
    most = header.promotions * 1.001
    if not (0 <= header.mailer <= most < MAX_COUNT and 0 <= header.display <= most):
        return "promotions"
    return ""


@part
def _watermarks_are_wrong(watermarks: NDArray[Any]) -> bool:
    for place in range(len(watermarks)):
        mark = watermarks[place]
        if mark.partition < -1 or not -1 <= mark.offset < MAX_OFFSET:
            return True
        if mark.fingerprints > (MAX_FINGERPRINTS if place < SLOTS else 0):
            return True
    return False


@part
def _fingerprints(watermarks: NDArray[Any]) -> int:
    count = 0
    for mark in watermarks:
        count += mark.fingerprints
    return count


@part
def _sequence_is_wrong(sequence: NDArray[Any]) -> bool:
    for event in sequence:  # noqa: SIM110  # numba compiles no generator
        if event.kind >= _KINDS:
            return True
    return False


@part
def _products_are_wrong(
    newest: NDArray[Any], places: NDArray[np.uint16], again: NDArray[Any], header: Any
) -> bool:
    for product in newest:
        if product.time > header.active_at or not 1 <= product.basket <= header.baskets:
            return True
    held = len(newest) - len(places)  # a purchase each, and those of what was bought again
    for row in range(len(places)):
        counted = again[row]
        if (
            places[row] >= len(newest)
            or not 2 <= counted.count < MAX_COUNT
            or counted.first > header.active_at
        ):
            return True
        if counted.ring & 1 == 0:  # bit 0 is the basket that bought it last
            return True
        for decayed in (counted.decay7, counted.decay28, counted.decay112, counted.basket_decay):
            if not 1 <= decayed <= MAX_COUNT:
                return True
        held += counted.count
    return bool(held > header.purchases)


@part
def _looks_are_wrong(
    browsed_at: NDArray[np.uint32],
    places: NDArray[np.uint16],
    looks: NDArray[np.float32],
    active_at: int,
) -> bool:
    for time in browsed_at:
        if time > active_at:
            return True
    for place in places:
        if place >= len(browsed_at):
            return True
    for decayed in looks:  # noqa: SIM110
        if not 0 <= decayed < MAX_COUNT:
            return True
    return False


@compiled
def _expand(words: NDArray[np.uint32], newest: bytes, places: bytes, again: bytes) -> None:
    """Fill in counters as `COUNTERS_DTYPE`, in words of 4 bytes."""
    purchases, rows = np.frombuffer(newest, np.uint32), np.frombuffer(places, np.uint16)
    counted = np.frombuffer(again, np.uint32)
    for product in range(len(purchases) // 2):
        at, time, basket = product * _WORDS, purchases[2 * product], purchases[2 * product + 1]
        words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4] = (
            1,
            _ONE,
            _ONE,
            _ONE,
            _ONE,
        )
        words[at + 5], words[at + 6], words[at + 7], words[at + 8], words[at + 9] = (
            time,
            time,
            basket,
            1,
            0,
        )
    for row in range(len(rows)):
        at, of = rows[row] * _WORDS, row * _AGAIN_WORDS
        for word in range(6):
            words[at + word] = counted[of + word]
        words[at + 8], words[at + 9] = counted[of + 6], counted[of + 7]


@compiled
def _expand_looks(counters: NDArray[Any], browsed_at: bytes, places: bytes, looks: bytes) -> None:
    """Fill in counters as `BROWSED_DTYPE`."""
    times, rows = np.frombuffer(browsed_at, np.uint32), np.frombuffer(places, np.uint16)
    counted = np.frombuffer(looks, np.uint8).view(_LOOKS_DTYPE)
    for product in range(len(times)):
        look = counters[product]
        look.session = look.day = look.week = 1
        look.cart = look.removed = look.dwell = 0
        look.last = times[product]
    for row in range(len(rows)):
        look, held = counters[rows[row]], counted[row]
        look.session, look.day, look.week = held.session, held.day, held.week
        look.cart, look.removed, look.dwell = held.cart, held.removed, held.dwell


def follows(value: bytes, held: bytes) -> bool:
    """Whether a state was folded from the other one or from a later one, by the watermarks.

    True as well where one of them is no state: then there is nothing to compare.
    """
    now, before = _progress(value), _progress(held)
    return now is None or before is None or watermarks.follows(*now, *before)


def _progress(value: bytes) -> tuple[int, bytes] | None:
    """Base and watermarks of a state, None where they cannot be read."""
    value = _of_today(value)
    if len(value) < _HEADER.size or value[0] != VERSION:
        return None
    end = _HEADER.size + value[1] * WATERMARK.size
    return (
        (_HEADER.unpack_from(value)[11], value[_HEADER.size : end]) if len(value) >= end else None
    )
