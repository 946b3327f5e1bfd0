"""Which partition a producer puts a key into.

Murmur2 is the Java client's default, crc32 librdkafka's. Pure.

Kafka itself does not say: clients with different partitioners write one shopper to two partitions,
and so to two states. https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
(`partitioner`) names them.
"""

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

from aiokafka.partitioner import murmur2

from worker.settings import Partitioner, Settings, client_settings

POSITIVE = 0x7FFFFFFF


def partition_of(partitioner: Partitioner, key: bytes, count: int) -> int:
    """Return the partition of a key, of so many in its topic.

    `worker.kafka.placement` has the same for many keys at once.
    """
    return (crc32(key) if partitioner == "consistent_random" else murmur2(key) & POSITIVE) % count


def producer_settings(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of an aiokafka producer that puts keys where `topics.partitioner` says."""
    return {
        **client_settings(settings.kafka),
        "partitioner": for_producer(settings.topics.partitioner),
    }


def for_producer(partitioner: Partitioner) -> Callable[[bytes, Sequence[int], Any], int]:
    """Make the partitioner as aiokafka takes it.

    It takes a key and all partitions of the topic in their order.
    """
    return lambda key, partitions, _: partitions[partition_of(partitioner, key, len(partitions))]
