"""What this worker owns: which partitions, and as of which epoch and generation."""

from collections.abc import Mapping

from aiokafka.structs import OffsetAndMetadata

from worker.runtime.app import RuntimeApp
from worker.runtime.ledger import TopicPartition


class Ownership:
    """What this worker has of the consumer group's work.

    Which partitions it owns is set here, after each recovery. All else the runtime knows, and is
    asked each time.
    """

    def __init__(self, app: RuntimeApp) -> None:
        self._app = app
        self._owned: frozenset[int] = frozenset()

    @property
    def owned(self) -> frozenset[int]:
        """Partitions of the state table that are this worker's."""
        return self._owned

    def take_over(self, partitions: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
        """Own these partitions from now on; returns those that are new here, and those gone."""
        before, self._owned = self._owned, partitions
        return partitions - before, before - partitions

    @property
    def partitions(self) -> int:
        """How many partitions the state table and each user-keyed topic have, whoever owns them."""
        return self._app.partitions

    @property
    def epoch(self) -> int:
        """The ledger's epoch: a micro-batch of another one is no longer ours."""
        epoch: int = self._app.consumer.ledger.epoch
        return epoch

    @property
    def generation(self) -> int:
        """The consumer group's generation: grows with each rebalance."""
        generation: int = self._app.consumer_generation_id
        return generation

    def log_of(self, topic: str, partition: int) -> int:
        """Return the number of the log that an assigned partition is read from.

        See `worker.runtime.commits.Note`.
        """
        number: int = self._app.consumer.notes[topic, partition].log
        return number

    def positions(self) -> Mapping[TopicPartition, int]:
        """Offsets below which all is processed, of the input partitions assigned."""
        positions: Mapping[TopicPartition, int] = self._app.consumer.ledger.positions()
        return positions

    def commit_of(self, tp: TopicPartition, offset: int) -> OffsetAndMetadata:
        """What is committed when all below this offset is processed."""
        commit: OffsetAndMetadata = self._app.consumer.commit_of(tp, offset)
        return commit
