"""The offset ledger: per partition which offset must come next, and what may be committed.

The one place that decides both. Faust's read offsets and acks lose events in ordinary rebalances:
after one, the first record handed over can lie beyond the committed offset, and its commit logic
steps over holes (https://github.com/faust-streaming/faust/issues/606). Pure: no I/O, no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

TopicPartition: TypeAlias = tuple[str, int]


class Verdict(Enum):
    """What to do with a range of records."""

    TAKE = "take"
    REPEAT = "repeat"
    SEEK_BACK = "seek back"
    FOREIGN = "foreign"
    """The partition is not assigned (any more)."""


@dataclass(slots=True)
class _Entry:
    next: int
    """The offset that must be handed over next."""
    done: int
    """Everything below is processed and acknowledged by the broker."""
    committed: int


@dataclass(slots=True)
class Ledger:
    """Offsets of the assigned partitions.

    `epoch` changes whenever what was admitted before may not be finished.
    """

    epoch: int = 0
    _entries: dict[TopicPartition, _Entry] = field(default_factory=dict)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Start over with the partitions assigned and their offsets (`worker.runtime.commits`)."""
        self.epoch += 1
        self._entries = {tuple_of(tp): _Entry(at, at, at) for tp, at in positions.items()}

    def revoke(self) -> None:
        """Nothing is ours until the next `assign`."""
        self.epoch += 1
        self._entries = {}

    def disown(self, topic: str) -> None:
        """Disown a topic until the next `assign`.

        What is fetched may be of another log.
        """
        self._entries = {tp: entry for tp, entry in self._entries.items() if tp[0] != topic}

    def expected(self, tp: TopicPartition) -> int | None:
        """The offset that must come next, None where the partition is not assigned."""
        entry = self._entries.get(tuple_of(tp))
        return entry.next if entry else None

    def admit(self, tp: TopicPartition, first: int, last: int) -> Verdict:
        """Judge a range of records by the first and the last offset that it covers.

        A range covers more than its records: compacted records and transaction markers have
        offsets, too.

        After `TAKE` the caller processes the records from `expected(tp)`, as it was before the
        call, to `last`.
        """
        entry = self._entries.get(tuple_of(tp))
        if entry is None:
            return Verdict.FOREIGN
        if last < entry.next:
            return Verdict.REPEAT
        if first > entry.next:
            return Verdict.SEEK_BACK
        entry.next = last + 1
        return Verdict.TAKE

    def begins(self, tp: TopicPartition, offset: int) -> int:
        """Take note that the broker's log begins at this offset.

        Returns how many offsets will never come. This is the only hole that is believed: any other
        was made by a mistake on the way here.
        """
        entry = self._entries.get(tuple_of(tp))
        if entry is None:
            return 0
        gone = max(offset - entry.next, 0)
        entry.next += gone
        return gone

    def finish(self, epoch: int, ends: Mapping[TopicPartition, int]) -> None:
        """All that was admitted in this epoch below these offsets is processed and acknowledged."""
        if epoch != self.epoch:
            return
        for tp, end in ends.items():
            if (entry := self._entries.get(tuple_of(tp))) is not None:
                entry.done = end

    def committable(self) -> dict[TopicPartition, int]:
        """Offsets that are ahead of what is committed."""
        return {
            tp: entry.done for tp, entry in self._entries.items() if entry.done > entry.committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The broker holds these offsets now."""
        for tp, offset in offsets.items():
            entry = self._entries.get(tuple_of(tp))
            if entry is not None:
                entry.committed = max(entry.committed, offset)

    def fetch_from(self) -> dict[TopicPartition, int]:
        """Per partition the offset that must be fetched next."""
        return {tp: entry.next for tp, entry in self._entries.items()}

    def positions(self) -> dict[TopicPartition, int]:
        """Per partition the offset below which everything is done."""
        return {tp: entry.done for tp, entry in self._entries.items()}


def tuple_of(tp: TopicPartition) -> TopicPartition:
    """Return the plain tuple of any client's topic-partition type.

    Their hashes are equal, but a log would print each in another form.
    """
    return (tp[0], tp[1])
