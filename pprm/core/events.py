"""What the fold understands.

One shopper's interactions and profile records, free of any wire format.

Structs of msgspec: a fifth of a named tuple's time to make, and no garbage collector looks at them.
"""

from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

SOURCES = ("purchases", "browses", "reviews", "users", "requests")
"""The user-keyed topics, in the order of the state's layout: a `source` is an index into them."""


SLOTS = 6
"""Watermarks kept for `SOURCES`: one is in reserve, so that a new source moves no other's."""
WAYS = 7
"""Watermarks for what other partitions of a topic hold of a shopper, one for each."""


def elsewhere(source: int) -> int:
    """Return the source of a record that was re-keyed.

    Records keep their order within the partition that they were read from, so each such partition
    of a topic has a watermark of its own. A shopper whose records lie in more than `WAYS` other
    partitions has some that share one. A repeat that is not noticed then is recognised by its
    event's fingerprint.
    """
    return source + SLOTS


def topic_of(source: int) -> int:
    """Index into `SOURCES` of a record's source, whether it was re-keyed or not."""
    return source % SLOTS


class Kind(IntEnum):
    """What the shopper did. Values are part of the state's layout."""

    PURCHASE = 0
    VIEW = 1
    SEARCH_CLICK = 2
    ADD_TO_CART = 3
    REMOVE_FROM_CART = 4
    REVIEW = 5
    RETURN = 6
    DISLIKE = 7
    HIDE = 8
    NOTHING = 9
    """A purchase with quantity 0."""


ACTS = tuple(Kind)[: Kind.REVIEW + 1]
"""What a state's sequence holds."""
LOOKS = (Kind.VIEW, Kind.SEARCH_CLICK, Kind.ADD_TO_CART, Kind.REMOVE_FROM_CART)
SOURCE_OF = {kind: 1 for kind in Kind} | {
    Kind.PURCHASE: 0,
    Kind.RETURN: 0,
    Kind.NOTHING: 0,
    Kind.REVIEW: 2,
}
"""Topic (index into `SOURCES`) of each kind of event."""


class Position(Struct, frozen=True, gc=False):
    """Where a record stands in its topic."""

    source: int
    partition: int
    offset: int
    log: int = 0
    """Number of the topic's log, made from the topic's id; 0: unknown.

    A topic that is deleted and created again has another one.
    """


class Interaction(Struct, frozen=True, gc=False):
    """One act of a shopper on a product.

    `product` and `basket` are `ids.stable_hash` values (basket 0: purchases of one `time` form a
    basket), `time` is Unix seconds. `store` (`user_state.store_code`) counts for purchases,
    `sentiment` (-1..1) for reviews, `dwell` (seconds) for looks.
    """

    position: Position
    kind: Kind
    product: int
    time: int
    basket: int = 0
    sentiment: float = 0.0
    store: int = 0
    dwell: float = 0.0
    promotion: tuple[float, float] | None = None
    """Shares of stores that had the product in the mailer, and on display; None: unknown."""
    fingerprint: int = 0
    """`ids.fingerprint` of the event, so that it counts once however often published; 0: none."""


class Profile(Struct, frozen=True, gc=False):
    """The newest attributes of a shopper as one text; `text` None forgets the shopper."""

    position: Position
    time: int
    text: str | None


class Request(Struct, frozen=True, gc=False):
    """A list is wanted as of `time`, Unix seconds: the beginning of a visit."""

    position: Position
    time: int


Event: TypeAlias = Interaction | Profile | Request
