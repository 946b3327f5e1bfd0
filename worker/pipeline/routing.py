"""The partition that a record belongs in: that of its key, where its shopper's state is.

Producers with different partitioners write one shopper to two partitions. What lies in another one
than the key has is counted and logged; with `topics.partitioner = "any"` it is re-keyed instead. A
null on `users` goes to every partition in any case: no worker can know whether another one holds a
state of that key.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import structlog

from worker.kafka import placement
from worker.kafka.batches import Record
from worker.ops.metrics import Metrics
from worker.pipeline import rekeying
from worker.pipeline.codec import Decoded, Invalid
from worker.pipeline.ownership import Ownership
from worker.pipeline.rekeying import Origin
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.work import Answered, Work, unit_of
from worker.settings import Topics

log = structlog.get_logger(__name__)


class Read(NamedTuple):
    """Records of a user-keyed topic in their order, and what each says."""

    origin: Origin
    direct: bool
    """Read from the topic itself, not re-keyed."""
    records: Sequence[Record]
    decoded: Sequence[Decoded | Invalid]


class Router:
    """Takes records in, or sends them on, and remembers of which topics it warned."""

    def __init__(
        self,
        topics: Topics,
        rekeyed_topic: str,
        ownership: Ownership,
        seen: SeenTopics,
        metrics: Metrics,
    ) -> None:
        """`rekeyed_topic` is where records are sent on."""
        self._partitioner, self._users = topics.partitioner, topics.name("users")
        self._rekeyed_topic, self._ownership, self._seen = rekeyed_topic, ownership, seen
        self._metrics = metrics
        self._warned: set[str] = set()

    def route(self, work: Work, partition: int, read: Read) -> None:
        """Take in records that were read from a partition, and re-key what belongs to others."""
        moves_all, topic = self._partitioner == "any", read.origin.topic
        keys = [record.key or b"" for record in read.records]
        homes = placement.homes(self._partitioner, keys, self._ownership.partitions)
        if not moves_all and read.direct and (homes != partition).any():
            pairs = zip(read.decoded, homes.tolist(), strict=True)
            self._count_misplaced(
                topic, sum(home != partition and type(event) is Decoded for event, home in pairs)
            )
        if topic == self._users or (moves_all and (homes != partition).any()):
            work.receive(partition, self._rekey(work, partition, read, homes.tolist()))
        else:
            work.receive(partition, zip(read.records, read.decoded, strict=True))

    def _rekey(
        self, work: Work, partition: int, read: Read, homes: list[int]
    ) -> Iterator[Answered]:
        """Send on what belongs elsewhere.

        Yields what is folded here, and what goes to the dead letters from here.
        """
        moves_all = self._partitioner == "any"
        for record, event, home in zip(read.records, read.decoded, homes, strict=True):
            moves = moves_all and home != partition
            if type(event) is Decoded and (moves or record.value is None):
                targets = (
                    self._everywhere(partition, read, record, home)
                    if record.value is None
                    else [home]
                )
                for target in targets:
                    self._send_on(work, partition, target, record, read.origin)
                if record.value is not None:
                    continue
            yield record, event

    def _everywhere(self, partition: int, read: Read, record: Record, home: int) -> list[int]:
        """Return where else a shopper has to be forgotten.

        A record that is re-keyed already has come to the key's partition.
        """
        if read.direct:
            return [target for target in range(self._ownership.partitions) if target != partition]
        return [] if home in (partition, record.partition) else [home]

    def _send_on(
        self, work: Work, partition: int, target: int, record: Record, origin: Origin
    ) -> None:
        row = rekeying.row(record, origin.log)
        work.append(unit_of("users", partition), (self._rekeyed_topic, target), row)
        self._metrics.events_rekeyed.labels(origin.topic).inc()

    def count_misplaced_products(
        self, topic: str, partition: int, records: Sequence[Record]
    ) -> None:
        """Count products in another partition than their key has.

        Only their times say which of a product's records in two partitions is the newer one.
        """
        keys = [record.key for record in records if record.key]
        homes = placement.homes(self._partitioner, keys, self._seen.partitions(topic))
        if self._partitioner != "any":
            self._count_misplaced(topic, int((homes != partition).sum()))

    def _count_misplaced(self, topic: str, count: int) -> None:
        """Count records in another partition than their key's, and log a topic's first."""
        if not count:
            return
        self._metrics.events_misplaced.labels(topic).inc(count)
        if topic in self._warned:
            return
        self._warned.add(topic)
        log.warning(
            "a record lies in another partition than topics.partitioner gives its"
            " key: all producers need the same partitioner. librdkafka"
            " (confluent-kafka, kcat) needs partitioner=murmur2_random to agree with"
            " Java. Or set topics.partitioner to any: what lies elsewhere is re-keyed",
            topic=topic,
            partitioner=self._partitioner,
        )
