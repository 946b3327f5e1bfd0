"""What a shopper's state must hold, from the events alone: clear, not fast."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import orjson

from tests.faults.oracle.log import Record

DAY = 86_400.0
BASKET_DECAY = 0.95
PURCHASE, REVIEW, NO_ACT = 0, 5, -1
ACTIONS = {"view": 1, "search_click": 2, "add_to_cart": 3, "remove_from_cart": 4}


class Malformed(ValueError):
    """Not a record that a state could hold."""


class Event(NamedTuple):
    """An input record of a shopper; one on `users` has no act."""

    family: str
    partition: int
    offset: int
    product: int = 0
    time: int = 0
    kind: int = NO_ACT
    basket: str = ""

    @property
    def act(self) -> tuple[int, int, int]:
        """As it stands in a state's sequence."""
        return self.product, self.time, self.kind

    def __str__(self) -> str:
        return f"{self.family}-{self.partition}@{self.offset}"


@dataclass
class Expected:
    """What the state must hold."""

    acts: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """By family, in order: what its sequence shows the newest of. A product counts once per basket."""
    bought: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Time and number of the basket of each purchase counted, by product."""
    baskets: list[int] = field(default_factory=list)
    """Time of the first purchase of each."""


@lru_cache(maxsize=1 << 16)
def product_hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def read(record: Record) -> Event:
    """What an input record says."""
    where = record.family, record.partition, record.offset
    if record.family == "users" and record.value is None:
        return Event(*where)
    try:
        value = orjson.loads(record.value or b"")
        if record.family == "users":
            value["user_id"]
            return Event(*where)
        moment = datetime.fromisoformat(value["occurred_at"])
        if moment.tzinfo is None:
            raise Malformed("a time without a zone")
        time, product = int(moment.timestamp()), product_hash(value["product_id"])
        if record.family == "purchases":
            return Event(*where, product, time, PURCHASE, value.get("basket_id") or f"at {time}")
        return Event(*where, product, time, REVIEW if record.family == "reviews" else ACTIONS[value["action"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(str(error)) from error


def fold(events: Iterable[Event]) -> Expected:
    """A shopper's events, those of each family in their order."""
    expected, basket, in_basket = Expected(), None, set[int]()
    for event in events:
        if event.kind == PURCHASE:
            if event.basket != basket:
                basket, in_basket = event.basket, set()
                expected.baskets.append(event.time)
            if event.product in in_basket:
                continue
            in_basket.add(event.product)
            expected.bought[event.product].append((event.time, len(expected.baskets)))
        if event.kind != NO_ACT:
            expected.acts[event.family].append(event)
    return expected


def decayed(times: Sequence[int], days: float) -> float:
    """How many there are as of the newest, each counting half after so many days."""
    newest = max(times, default=0)
    return sum(2.0 ** ((time - newest) / (DAY * days)) for time in times)


def decayed_by_basket(numbers: Sequence[int]) -> float:
    """How many there are as of the last of these baskets."""
    return sum(BASKET_DECAY ** (max(numbers) - number) for number in numbers)
