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
PURCHASE, REVIEW, RETURN, NO_ACT = 0, 5, 6, -1
KNOWN_BASKETS = 64
"""A return names one of a shopper's last; of a product bought in none of these only the count is
known."""
ACTIONS = {"view": 1, "search_click": 2, "add_to_cart": 3, "remove_from_cart": 4}


class Malformed(ValueError):
    """Not a record that a state could hold."""


class Event(NamedTuple):
    """An input record of a shopper; one on `users` or `requests` has no act."""

    family: str
    partition: int
    offset: int
    product: int = 0
    time: int = 0
    kind: int = NO_ACT
    basket: str = ""
    event_id: str = ""

    @property
    def known_by(self) -> tuple[str, int, int, str]:
        """An event counts once, however often it is published."""
        return self.family, self.kind, self.product, self.event_id

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
    """By family, in order: what its sequence shows the newest of. A product counts once per basket.
    """
    made: int = 0
    """Acts, those taken back included."""
    bought: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Time and number of the basket of each purchase counted, by product."""
    baskets: list[int] = field(default_factory=list)
    """Time of the first purchase of each."""
    ring_from: dict[int, int] = field(default_factory=dict)
    """By product: number of the oldest basket that its ring knows, whose bits do not come back when
    the newest goes."""
    vague: set[int] = field(default_factory=set)
    """Products of which a purchase was taken back and the next one is too old to be known."""


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
        time = int(moment.timestamp())
        if record.family == "requests":
            value["request_id"], value["user_id"]
            return Event(*where, time=time)
        product = product_hash(value["product_id"])
        event_id = value["event_id"]
        if record.family == "purchases":
            if value.get("kind") == "return" or value.get("quantity", 1) < 0:
                return Event(*where, product, time, RETURN, value.get("basket_id") or "", event_id)
            return Event(
                *where, product, time, PURCHASE, value.get("basket_id") or f"at {time}", event_id
            )
        kind = REVIEW if record.family == "reviews" else ACTIONS[value["action"]]
        return Event(*where, product, time, kind, "", event_id)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(str(error)) from error


def fold(events: Iterable[Event]) -> Expected:
    """A shopper's events, those of each family in their order."""
    expected, names, seen = Expected(), list[str](), set[tuple[str, int, int, str]]()
    for event in events:
        if event.kind == NO_ACT or event.known_by in seen:
            continue
        seen.add(event.known_by)
        if event.kind == RETURN:
            _take_back(event, expected, names)
        elif event.kind != PURCHASE or _buy(event, expected, names):
            expected.acts[event.family].append(event)
            expected.made += 1
    return expected


def _buy(event: Event, expected: Expected, names: list[str]) -> bool:
    """Count a purchase, unless its basket holds the product; `names` are the baskets' ids."""
    if not names or names[-1] != event.basket:
        names.append(event.basket)
        expected.baskets.append(event.time)
    mine = expected.bought[event.product]
    if any(number == len(names) for _, number in mine):
        return False
    mine.append((event.time, len(names)))
    return True


def _take_back(event: Event, expected: Expected, names: list[str]) -> None:
    """Count one purchase less: that in the basket named, else the newest."""
    mine = expected.bought.get(event.product, [])
    named = {number for number, name in _recent(names) if name == event.basket}
    candidates = [one for one in mine if one[1] in named] if named else mine
    if not candidates:
        return
    gone = max(candidates, key=lambda one: one[1])
    newest = max(number for _, number in mine)
    mine.remove(gone)
    acts = expected.acts["purchases"]
    acts.remove(
        next(one for one in reversed(acts) if one.act == (event.product, gone[0], PURCHASE))
    )
    if mine and gone[1] == newest:
        expected.ring_from[event.product] = max(
            expected.ring_from.get(event.product, 0), newest - KNOWN_BASKETS + 1
        )
        oldest = max(expected.ring_from[event.product], len(names) - KNOWN_BASKETS + 1)
        if max(number for _, number in mine) < oldest:
            expected.vague.add(event.product)
    if not mine:
        del expected.bought[event.product]


def _recent(names: list[str]) -> list[tuple[int, str]]:
    return list(enumerate(names, 1))[-KNOWN_BASKETS:]


def decayed(times: Sequence[int], days: float) -> float:
    """How many there are as of the newest, each counting half after so many days."""
    newest = max(times, default=0)
    return sum(2.0 ** ((time - newest) / (DAY * days)) for time in times)


def decayed_by_basket(numbers: Sequence[int]) -> float:
    """How many there are as of the last of these baskets."""
    return sum(BASKET_DECAY ** (max(numbers) - number) for number in numbers)
