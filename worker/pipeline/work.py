"""What one micro-batch is about: the shoppers it touches and the records it refuses."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pprm.core.events import SLOTS, Event, Profile, Request
from pprm.state.fold import Folded
from pprm.state.user_state import UserState
from schemas.recommendations import Cause
from worker.kafka.batches import Record, key_of
from worker.pipeline.codec import Decoded, Invalid, Trigger
from worker.pipeline.recommender import Ranked
from worker.runtime.delivery import Row
from worker.runtime.ledger import TopicPartition

Answered: TypeAlias = tuple[Record, Decoded | Invalid]
"""A record, and what it says."""
Values: TypeAlias = Mapping[int, Mapping[bytes, bytes]]
"""Encoded states by partition and key."""


def unit_of(family: str, partition: int) -> str:
    """Return the unit of work that a partition of an input topic belongs to.

    It is written together: the partitions of one number in all user-keyed topics, which one worker
    always has at once; each partition of the products for itself.
    """
    return f"products-{partition}" if family == "products" else str(partition)


class Unasked(NamedTuple):
    """A list that no event of the shopper asks for."""

    trigger: Trigger
    at: int
    """As of when it is made, Unix seconds, event time."""


@dataclass(slots=True)
class Shopper:
    """A user-keyed shopper of a batch.

    It has what came, what became of the state, what is recommended.
    """

    partition: int
    key: bytes
    events: list[Event] = field(default_factory=list)
    """What came, in the order it is folded: purchases know the promotion of their product."""
    last: tuple[Record, Decoded] = field(init=False)
    """The record of the last of them, and what it says."""
    damaged: bytes | None = None
    """What the table held, where it could not be read as a state."""
    is_new: bool = False
    """The table held nothing."""
    listed: bool = False
    """A list was published of the state before the batch."""
    folded: Folded | None = None
    ranked: Ranked | None = None
    unasked: Unasked | None = None
    """Why there is a list though no event came, where there is one."""
    is_sent: bool = True
    """Whether the list is published: one that is as the list before need not be."""

    @property
    def state(self) -> UserState:
        """The state after the batch."""
        assert self.folded
        return self.folded.state

    @property
    def trigger(self) -> Trigger:
        """Why there is a list."""
        if self.unasked:
            return self.unasked.trigger
        record, decoded = self.last
        cause: Cause = "request" if isinstance(decoded.event, Request) else "event"
        return Trigger(cause, record.topic, record.partition, record.offset, decoded.event_id)

    @property
    def newest(self) -> int:
        """Event time of the newest of the events, Unix seconds."""
        return max(event.time for event in self.events)

    @property
    def is_repeat(self) -> bool:
        """Whether all that came was in the state before."""
        assert self.folded
        return self.folded.repeats == len(self.events)

    @property
    def withdraws(self) -> bool:
        """Whether the shopper's list in this partition is deleted.

        Forgotten by way of another partition, mostly there is none; and a null that comes late
        could meet a consumer who has a newer list of the shopper from the partition of the key. A
        repeat cannot know what was published.
        """
        if not self.forgotten:
            return False
        assert self.folded
        is_direct = self.events[-1].position.source < SLOTS
        return is_direct or self.listed or self.folded.repeats > 0

    @property
    def forgotten(self) -> bool:
        """Whether the last event of this shopper was to forget.

        One that was known before, and is a repeat, does not count.
        """
        event = self.events[-1] if self.events else None
        return isinstance(event, Profile) and event.text is None and not self.state.active_at


class Refused(NamedTuple):
    """Make a record for the dead letters.

    `partition` is where it was read, a re-keyed record names where it was first.
    """

    partition: int
    record: Record
    invalid: Invalid


@dataclass(slots=True)
class Work:
    """A decoded micro-batch, or a turn."""

    partitions: dict[int, dict[bytes, Shopper]] = field(default_factory=dict)
    """Shoppers by partition and key."""
    refused: list[Refused] = field(default_factory=list)
    values: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """The states after the batch, as they are stored."""
    rows: dict[str, dict[TopicPartition, list[Row]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """What is to be appended, by unit of work and partition."""
    newest: dict[int, tuple[Record, Decoded]] = field(default_factory=dict)
    """By partition, the record of the newest thing that a shopper did, and what it says.

    A profile counts for none: its time may be its record's.
    """
    is_turn: bool = False
    """Lists are made again that are due; there are no events."""

    @property
    def shoppers(self) -> list[Shopper]:
        """Those of all partitions."""
        return [shopper for shoppers in self.partitions.values() for shopper in shoppers.values()]

    def refuse(self, partition: int, refused: Iterable[tuple[Record, Invalid]]) -> None:
        """Note records of a partition that go to the dead letters."""
        self.refused += [Refused(partition, record, invalid) for record, invalid in refused]

    def append(self, unit: str, tp: TopicPartition, row: Row) -> None:
        """Have a unit of work append a row to a topic's partition."""
        self.rows[unit][tp].append(row)

    def receive(self, partition: int, answered: Iterable[Answered]) -> None:
        """Take in records of a partition, with what they say."""
        shoppers = self.partitions.setdefault(partition, {})
        time = self.newest[partition][1].event.time if partition in self.newest else 0
        for record, decoded in answered:
            if isinstance(decoded, Invalid):
                self.refused.append(Refused(partition, record, decoded))
                continue
            key = key_of(record)
            shopper = shoppers.get(key)
            if shopper is None:
                shopper = shoppers[key] = Shopper(partition, key)
            shopper.last = record, decoded
            shopper.events.append(decoded.event)
            if decoded.event.time > time and type(decoded.event) is not Profile:
                time, self.newest[partition] = decoded.event.time, shopper.last
