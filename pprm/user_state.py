"""A shopper's state and the fold that keeps it: the interaction sequence and its decayed counters.

Only counters per product are kept. Those per product type, category and maker are sums over them (every counter below
is additive), made from the catalogue when features are computed: an event that arrives before its product's record,
or a product that changes category, needs no repair. So is product popularity: it is the sum over all shoppers.

Binary layout, version 1, little endian, bounded (`MAX_BYTES`):
`HEADER | watermarks | sequence | product keys (u64 each) | product counters | published list (u64 each) | profile
text`.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.events import SOURCES, Event, Interaction, Kind, Profile

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
_WATERMARK = struct.Struct("<iq")
_INTERACTION = struct.Struct("<QIB3x")
_COUNTERS = struct.Struct("<IffffIII")
_KEY = struct.Struct("<Q")

MAX_BYTES = (
    _HEADER.size
    + len(SOURCES) * _WATERMARK.size
    + MAX_SEQUENCE * _INTERACTION.size
    + MAX_PRODUCTS * (_KEY.size + _COUNTERS.size)
    + MAX_PUBLISHED * _KEY.size
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

_NO_WATERMARKS = _WATERMARK.pack(-1, -1) * len(SOURCES)


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
    return replace(state, published=b"".join(_KEY.pack(product) for product in products)[: MAX_PUBLISHED * _KEY.size])


class Folded(NamedTuple):
    """A state after events, and what the fold had to say about them."""

    state: UserState
    counted: list[Interaction]
    """Purchases that entered the counters: what product popularity adds."""
    repeats: int
    """Events at or below the watermark: seen before, not applied again."""
    evicted: int
    """Products dropped because the state is full."""


def fold(state: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given; the argument stays as it was.

    Idempotent: an event at or below the watermark of its topic and partition changes nothing. Bounded: see `MAX_BYTES`.
    The counters do not depend on the order of purchases in time, so late events need no care.
    """
    new = _copy(state)
    counted: list[Interaction] = []
    repeats = evicted = 0
    for event in events:
        if not _advance(new, event):
            repeats += 1
        elif isinstance(event, Profile):
            new = _profile(new, event)
        else:
            new.active_at = max(new.active_at, event.time)
            if event.kind is Kind.PURCHASE:
                was_counted, was_full = _purchase(new, event)
                evicted += was_full
                if not was_counted:
                    continue
                counted.append(event)
            elif event.kind is Kind.REVIEW:
                new.sentiment += event.sentiment
                new.reviews += 1
            _remember(new, event)
    return Folded(new, counted, repeats, evicted)


def _copy(state: UserState) -> UserState:
    return replace(
        state,
        watermarks=bytearray(state.watermarks),
        sequence=bytearray(state.sequence),
        keys=bytearray(state.keys),
        counters=bytearray(state.counters),
    )


def _advance(state: UserState, event: Event) -> bool:
    """Move the watermark to the event; False where it has been there before."""
    source, partition, offset = event.position
    at = source * _WATERMARK.size
    seen_partition, seen_offset = _WATERMARK.unpack_from(state.watermarks, at)
    if partition == seen_partition and offset <= seen_offset:
        return False
    _WATERMARK.pack_into(state.watermarks, at, partition, offset)
    return True


def _profile(state: UserState, event: Profile) -> UserState:
    if event.text is None:  # forgotten: only the watermarks stay, so that a redelivery brings nothing back
        return UserState(watermarks=state.watermarks)
    state.text = event.text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore").encode()
    state.active_at = max(state.active_at, event.time)
    return state


def _remember(state: UserState, event: Interaction) -> None:
    state.sequence += _INTERACTION.pack(event.product, event.time, event.kind)
    del state.sequence[: -MAX_SEQUENCE * _INTERACTION.size]


def _purchase(state: UserState, event: Interaction) -> tuple[bool, bool]:
    """Count a purchase; returns (counted, evicted another). A product counts once per basket."""
    _basket(state, event)
    at = _find(state.keys, event.product)
    evicted = False
    if at < 0:
        evicted = _make_room(state)
        state.keys += _KEY.pack(event.product)
        state.counters += _COUNTERS.pack(1, 1.0, 1.0, 1.0, 1.0, event.time, event.time, state.baskets)
    elif not _count_again(state, at * _COUNTERS.size, event.time):
        return False, False
    state.purchases += 1
    return True, evicted


def _basket(state: UserState, event: Interaction) -> None:
    key = event.basket or event.time
    if state.baskets and key == state.basket:
        return
    state.basket = key
    state.baskets += 1
    newest = max(state.last_purchase, event.time)
    for name, half_life in (("basket_decay28", 28.0), ("basket_decay112", 112.0)):
        kept = getattr(state, name) * _decay(newest - state.last_purchase, half_life) if state.last_purchase else 0.0
        setattr(state, name, kept + _decay(newest - event.time, half_life))
    state.last_purchase = newest
    state.first_purchase = min(state.first_purchase or event.time, event.time)


def _count_again(state: UserState, at: int, time: int) -> bool:
    count, d7, d28, d112, per_basket, first, last, basket = _COUNTERS.unpack_from(state.counters, at)
    if basket == state.baskets:
        return False
    newest = max(last, time)
    decays = [
        kept * _decay(newest - last, half_life) + _decay(newest - time, half_life)
        for kept, half_life in zip((d7, d28, d112), HALF_LIVES, strict=True)
    ]
    per_basket = per_basket * BASKET_DECAY ** (state.baskets - basket) + 1.0
    _COUNTERS.pack_into(state.counters, at, count + 1, *decays, per_basket, min(first, time), newest, state.baskets)
    return True


def _decay(seconds: float, half_life: float) -> float:
    return float(2.0 ** (-seconds / (DAY * half_life)))


def _find(keys: bytearray, product: int) -> int:
    """Index of a product, -1 where there is none: a search for its 8 bytes is faster than any index at this size."""
    needle, at = _KEY.pack(product), -1
    while (at := keys.find(needle, at + 1)) >= 0:
        if at % _KEY.size == 0:
            return at // _KEY.size
    return -1


def _make_room(state: UserState) -> bool:
    """Drop the product whose 112-day counter is the smallest, if the state is full."""
    if len(state.keys) < MAX_PRODUCTS * _KEY.size:
        return False
    counters = state.product_counters()
    weight = np.log2(counters["decay112"]) + counters["last"].astype(np.float64) / (DAY * HALF_LIVES[2])
    at = int(np.argmin(weight))
    del counters  # a live view forbids resizing
    del state.keys[at * _KEY.size : (at + 1) * _KEY.size]
    del state.counters[at * _COUNTERS.size : (at + 1) * _COUNTERS.size]
    return True


def encode(state: UserState) -> bytes:
    """Return the state's bytes."""
    header = _HEADER.pack(
        VERSION,
        len(state.sequence) // _INTERACTION.size,
        len(state.keys) // _KEY.size,
        len(state.published) // _KEY.size,
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
        len(SOURCES) * _WATERMARK.size,
        interactions * _INTERACTION.size,
        products * _KEY.size,
        products * _COUNTERS.size,
        published * _KEY.size,
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
