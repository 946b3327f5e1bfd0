"""Where records belong: those that lie in another partition than their key has are counted, and the first is told.

Two producers with different partitioners write one shopper to two partitions, which have a state each.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import structlog

from pprm.events import SOURCES
from worker import placement
from worker.components import Components
from worker.work import Work

log = structlog.get_logger(__name__)


def count_misplaced(c: Components, work: Work) -> None:
    """Count the events of shoppers whose partition is another one than `topics.partitioner` gives their key."""
    for partition, shoppers in work.partitions.items():
        lost = compress(shoppers.values(), _elsewhere(c, partition, list(shoppers), c.partitions))
        _count(c, (c.settings.topics.name(SOURCES[e.position.source]) for shopper in lost for e in shopper.events))


def count_misplaced_products(c: Components, topic: str, partition: int, records: Sequence[Any]) -> None:
    """Count products alike: which of a product's records in two partitions is the newer one, only their times say."""
    keys = [record.key for record in records if record.key]
    _count(c, compress([topic] * len(keys), _elsewhere(c, partition, keys, c.product_partitions)))


def _elsewhere(c: Components, partition: int, keys: Sequence[bytes], count: int) -> list[bool]:
    found: list[bool] = (placement.homes(c.settings.topics.partitioner, keys, count) != partition).tolist()
    return found


def _count(c: Components, topics: Iterable[str]) -> None:
    for topic, count in Counter(topics).items():
        c.metrics.events_misplaced.labels(topic).inc(count)
        if topic not in c.misplaced:
            c.misplaced.add(topic)
            log.warning(
                "a record lies in another partition than topics.partitioner gives its key: all producers need the same"
                " partitioner. librdkafka (confluent-kafka, kcat) needs partitioner=murmur2_random to agree with Java",
                topic=topic,
                partitioner=c.settings.topics.partitioner,
            )
