"""Reads the compacted products topic, whole before the worker is ready, and follows it live.

Every worker reads all of it, outside of the consumer group. Products that cannot be decoded are passed over here: the
agent, which shares the topic's partitions out through the group, sends each of them to the dead letters once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pprm.catalogue import Product
from worker import reader

Changes: TypeAlias = Mapping[str, Product | None]
"""Newest record per product id; None withdraws it."""
Change: TypeAlias = tuple[str, Product | None]
"""Product id, and the product or None where it is withdrawn."""
Decode: TypeAlias = Callable[[Any], Change | None]
"""A Kafka record to a change, or None where it is not valid, or not the newest of its product."""

IDLE_MS = 200
READ_RECORDS = 5000
KNOWN_A_SECOND = 50_000
"""Products known for each second that a change waits for others: what is laid out over all of them is made anew before
the next list, in about 2 us a product, so that takes a tenth of the time at most."""

log = structlog.get_logger(__name__)


async def follow(
    client: Mapping[str, Any],
    topic: str,
    decode: Decode,
    apply: Callable[[Changes, int], Awaitable[int]],
    on_read: Callable[[], None],
) -> None:
    """Read the topic from its beginning for ever.

    Args:
        client: keyword arguments of an aiokafka client.
        topic: of the products.
        decode: a record to a change, None where it is none.
        apply: takes in what changed, and how many records said so; returns how many products are known.
        on_read: called once, when the end was reached first.
    """
    consumer = reader.consumer(client, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = await _assign_all(consumer, topic)
        read = False
        while True:
            fetched = await consumer.getmany(timeout_ms=IDLE_MS, max_records=READ_RECORDS)
            decoded = (decode(record) for records in fetched.values() for record in records)
            if changes := dict(change for change in decoded if change):
                records = sum(map(len, fetched.values()))
                known = await apply(changes, records)
                if read and records < READ_RECORDS:
                    await asyncio.sleep(known / KNOWN_A_SECOND)
            elif not (read or fetched) and await _at_end(consumer, partitions):
                read = True
                on_read()
    finally:
        await consumer.stop()


async def _assign_all(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    while not (numbers := await _partitions(consumer, topic)):
        log.info("waiting for the topic", topic=topic)
        await asyncio.sleep(1)
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning()
    return partitions


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    try:
        await consumer._client.force_metadata_update()
        await consumer.topics()
    except KafkaError as error:  # it names no broker, itself included: just started, or too busy for its controller
        log.warning("waiting for the broker", error=str(error))
        return set()
    return consumer.partitions_for_topic(topic) or set()


async def _at_end(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
    ends = await consumer.end_offsets(partitions)
    positions = [await consumer.position(partition) for partition in partitions]
    return all(position >= ends[partition] for partition, position in zip(partitions, positions, strict=True))
