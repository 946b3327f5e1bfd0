"""What the runtime tells the rest of the worker, and what it asks it."""

from collections.abc import Iterable
from typing import Protocol

from worker.runtime.ledger import TopicPartition


class RuntimeListener(Protocol):
    """Given to `worker.runtime.app.create`. The runtime calls it on the event loop."""

    def on_commit(self, seconds: float) -> None:
        """Offsets were committed, which took so many seconds."""

    def on_gap(self, topic: str) -> None:
        """Offsets of a topic were missing: they are fetched again."""

    def on_deleted(self, topic: str, count: int) -> None:
        """The broker had deleted so many offsets of a topic before they were read."""

    def on_other_log(self, topic: str) -> None:
        """The group's commits are of another log than the topic's of today."""

    def on_quarantine(self) -> None:
        """A partition's files were moved aside: they could not be opened."""

    async def on_owned(self, assigned: Iterable[TopicPartition]) -> None:
        """These partitions were assigned; their changelog is read afterwards."""

    async def on_overwritten(self, partition: int, keys: Iterable[bytes]) -> None:
        """Append the states of these keys again.

        In the changelog of this partition of the table, the last record of each is a former
        owner's.
        """

    def follows(self, value: bytes, held: bytes) -> bool:
        """Whether a value was made from another one or a later one, as far as values can tell."""
        ...


class Nobody(RuntimeListener):
    """Hears nothing: the listener of an app that is never started."""

    def follows(self, value: bytes, held: bytes) -> bool:
        """Every value follows every other one, where nobody knows what values are."""
        return True
