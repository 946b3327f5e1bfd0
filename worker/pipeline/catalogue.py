"""Reads the compacted products topic, whole before the worker is ready, and follows it live.

Every worker reads all of it, outside of the consumer group. Products that cannot be decoded are
passed over here: the agent, which shares the topic's partitions out through the group, sends each
of them to the dead letters once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from pprm.catalogue.catalogue import Product
from worker.kafka import reader
from worker.kafka.batches import Fetch, Record
from worker.pipeline.following import Followed

Changes: TypeAlias = Mapping[str, Product | None]
"""Newest record per product id; None withdraws it."""
Change: TypeAlias = tuple[str, Product | None]
"""Product id, and the product or None where it is withdrawn."""
Decode: TypeAlias = Callable[[Record], Change | None]
"""A Kafka record to a change, or None where it is not valid, or not the newest of its product."""

IDLE_MS = 200
READ_RECORDS = 5000
KNOWN_A_SECOND = 50_000
"""Products known for each second that a change waits for others.

What is laid out over all of them is made anew before the next list, in about 2 us a product, so
that takes a tenth of the time at most.
"""

log = structlog.get_logger(__name__)


async def follow(
    client: Mapping[str, Any],
    topic: str,
    decoder: Callable[[], Decode],
    apply: Callable[[Changes, int], Awaitable[int]],
    on_read: Callable[[set[str]], Awaitable[None]],
) -> None:
    """Read the topic from its beginning for ever, partitions that come later included.

    Args:
        client: keyword arguments of an aiokafka client.
        topic: of the products.
        decoder: what decodes a topic's records, from its beginning on.
        apply: takes in what changed, and the number of records that did it; returns how many
            products are known.
        on_read: gets the ids of all products in it, when it is read to its end: at first, and again
            where the topic was deleted and created again.
    """
    consumer = reader.consumer(client, auto_offset_reset="earliest")
    await consumer.start()
    try:
        followed = Followed(consumer, topic)
        await followed.begin()
        decode, ids = decoder(), set[str]()
        is_read = False
        while True:
            if await followed.keep_up():
                decode, ids, is_read = decoder(), set(), False
            fetched: Fetch = await consumer.getmany(timeout_ms=IDLE_MS, max_records=READ_RECORDS)
            decoded = (decode(record) for records in fetched.values() for record in records)
            changes = dict(change for change in decoded if change)
            if not is_read:
                ids |= changes.keys()
            if not (is_read or fetched) and await _at_end(consumer, followed.partitions):
                await on_read(ids)
                ids, is_read = set(), True
            if changes:
                records = sum(map(len, fetched.values()))
                known = await apply(changes, records)
                if is_read and records < READ_RECORDS:
                    await asyncio.sleep(known / KNOWN_A_SECOND)
    finally:
        await consumer.stop()


async def _at_end(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
    ends = await consumer.end_offsets(partitions)
    positions = [await consumer.position(partition) for partition in partitions]
    return all(
        position >= ends[partition]
        for partition, position in zip(partitions, positions, strict=True)
    )
