"""The demo as a plain Kafka client: sends rows, reads lists and dead letters."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, TypeAlias

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from worker.kafka.batches import Fetch, Record
from worker.kafka.partitioner import partition_of
from worker.kafka.reader import consumer as consumer_of
from worker.runtime.delivery import Row, append_rows
from worker.settings import Partitioner

BATCH_BYTES = 256 * 1024
FETCH_WAIT_MS = 10
"""How long a broker may wait for more: the embedded one always does, which adds latency."""

OnList: TypeAlias = Callable[[Mapping[str, Any], float], None]
OnDeadLetter: TypeAlias = Callable[[Record], None]


class Publisher:
    """Sends rows in Kafka batches, each to the partition of its key."""

    def __init__(
        self, producer: AIOKafkaProducer, partitions: int, partitioner: Partitioner
    ) -> None:
        self._producer, self._partitions, self._partitioner = producer, partitions, partitioner
        self._known: dict[bytes, int] = {}

    def partition(self, key: bytes) -> int:
        """Partition of a key."""
        if key not in self._known:
            self._known[key] = partition_of(self._partitioner, key, self._partitions)
        return self._known[key]

    async def send(self, topic: str, rows: Iterable[Row]) -> dict[int, int]:
        """Send rows in order and wait for the acknowledgements.

        Returns each partition's last offset.
        """
        by_partition: dict[int, list[Row]] = {}
        for row in rows:
            assert row.key
            by_partition.setdefault(self.partition(row.key), []).append(row)
        appends = await append_rows(
            self._producer, {(topic, number): part for number, part in by_partition.items()}
        )
        return {number: appended[-1].end - 1 for (_, number), appended in appends.items()}


@asynccontextmanager
async def publisher(
    client: Mapping[str, Any], partitions: int, partitioner: Partitioner
) -> AsyncIterator[Publisher]:
    """Connect a publisher to topics of so many partitions."""
    producer = AIOKafkaProducer(max_batch_size=BATCH_BYTES, **client)
    await producer.start()
    try:
        yield Publisher(producer, partitions, partitioner)
    finally:
        await producer.stop()


@asynccontextmanager
async def reader(
    client: Mapping[str, Any], topics: Iterable[str], partitions: int
) -> AsyncIterator[AIOKafkaConsumer]:
    """Connect a consumer without a group at the beginning of these topics' partitions."""
    consumer = consumer_of(client, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS)
    await consumer.start()
    try:
        consumer.assign(
            [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        )
        yield consumer
    finally:
        await consumer.stop()


async def listen(
    consumer: AIOKafkaConsumer, lists_topic: str, on_list: OnList, on_dead_letter: OnDeadLetter
) -> None:
    """Pass every list (decoded, with the time of receipt) and other record to its function."""
    while True:
        fetched: Fetch = await consumer.getmany(timeout_ms=200)
        at = perf_counter()
        for tp, records in fetched.items():
            for record in records:
                if tp.topic != lists_topic:
                    on_dead_letter(record)
                elif record.value is not None:
                    on_list(orjson.loads(record.value), at)
