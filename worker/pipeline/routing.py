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
from worker.pipeline import rekeying
from worker.pipeline.codec import Decoded, Invalid
from worker.pipeline.context import Components
from worker.pipeline.rekeying import Origin
from worker.pipeline.work import Answered, Work

log = structlog.get_logger(__name__)


class Read(NamedTuple):
    """Records of a user-keyed topic in their order, and what each says."""

    origin: Origin
    direct: bool
    """Read from the topic itself, not re-keyed."""
    records: Sequence[Record]
    said: Sequence[Decoded | Invalid]


def route(c: Components, work: Work, partition: int, read: Read) -> None:
    """Take in records that were read from a partition, and re-key what belongs to others."""
    partitioner = c.settings.topics.partitioner
    homes = placement.homes(partitioner, [r.key or b"" for r in read.records], c.partitions)
    if partitioner != "any" and read.direct and (homes != partition).any():
        pairs = zip(read.said, homes.tolist(), strict=True)
        count_misplaced(
            c,
            read.origin.topic,
            sum(home != partition and type(said) is Decoded for said, home in pairs),
        )
    if read.origin.topic == c.settings.topics.name("users") or (
        partitioner == "any" and (homes != partition).any()
    ):
        work.receive(partition, _rekey(c, work, partition, read, homes.tolist()))
    else:
        work.receive(partition, zip(read.records, read.said, strict=True))


def _rekey(
    c: Components, work: Work, partition: int, read: Read, homes: list[int]
) -> Iterator[Answered]:
    """Send on what belongs elsewhere.

    Yields what is folded here, and what goes to the dead letters from here.
    """
    moves_all = c.settings.topics.partitioner == "any"
    for record, answer, home in zip(read.records, read.said, homes, strict=True):
        moves = moves_all and home != partition
        if type(answer) is Decoded and (moves or record.value is None):
            targets = (
                _everywhere(c, partition, read, record, home) if record.value is None else [home]
            )
            for target in targets:
                _send_on(c, work, partition, target, record, read.origin)
            if record.value is not None:
                continue
        yield record, answer


def _everywhere(c: Components, partition: int, read: Read, record: Record, home: int) -> list[int]:
    """Return where else a shopper has to be forgotten.

    A record that is re-keyed already has come to the key's partition.
    """
    if read.direct:
        return [target for target in range(c.partitions) if target != partition]
    return [] if home in (partition, record.partition) else [home]


def _send_on(
    c: Components, work: Work, partition: int, target: int, record: Record, origin: Origin
) -> None:
    rows = work.rows[c.unit("users", partition)][c.settings.rekeyed_topic, target]
    rows.append(rekeying.row(record, origin.log))
    c.metrics.events_rekeyed.labels(origin.topic).inc()


def count_misplaced_products(
    c: Components, topic: str, partition: int, records: Sequence[Record]
) -> None:
    """Count products in another partition than their key has.

    Only their times say which of a product's records in two partitions is the newer one.
    """
    keys = [record.key for record in records if record.key]
    homes = placement.homes(c.settings.topics.partitioner, keys, c.product_partitions)
    if c.settings.topics.partitioner != "any":
        count_misplaced(c, topic, int((homes != partition).sum()))


def count_misplaced(c: Components, topic: str, count: int) -> None:
    """Count records in another partition than their key's, and tell of a topic's first."""
    if not count:
        return
    c.metrics.events_misplaced.labels(topic).inc(count)
    if topic in c.misplaced:
        return
    c.misplaced.add(topic)
    log.warning(
        "a record lies in another partition than topics.partitioner gives its"
        " key: all producers need the same partitioner. librdkafka"
        " (confluent-kafka, kcat) needs partitioner=murmur2_random to agree with"
        " Java. Or set topics.partitioner to any: what lies elsewhere is re-keyed",
        topic=topic,
        partitioner=c.settings.topics.partitioner,
    )
