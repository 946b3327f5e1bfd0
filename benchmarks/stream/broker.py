"""What the benchmark does on a broker besides the contenders.

It makes topics and input, reads offsets, and reads back the output.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.stream.job import PARTITIONS

QUIET_MS = 500


async def create_topics(broker: str, names: Iterable[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        # the broker's clock, since Quix gives a record the time of the one it answers; the embedded
        # broker ignores it
        clock = {"message.timestamp.type": "LogAppendTime"}
        made = await admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, topic_configs=clock) for name in names]
        )
        assert all(error[1] in (0, 36) for error in made.topic_errors), made
    finally:
        await admin.close()


async def feed(broker: str, topic: str, events: Iterable[tuple[int, str, bytes]]) -> None:
    """Publish events in order."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", linger_ms=0)
    async with producer:
        batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
        for partition, user, value in events:
            record = {"key": user.encode(), "value": value, "timestamp": None}
            if batches[partition].append(**record) is None:
                await producer.send_batch(batches[partition], topic, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(**record)
        for partition, batch in batches.items():
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()


async def committed(broker: str, group: str, topic: str) -> int:
    """Events that a group has committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    async with consumer:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(tps)
        return sum([await consumer.committed(tp) or 0 for tp in tps])


async def read(broker: str, topic: str) -> list[Any]:
    """Everything in a topic, per partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    async with consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        records: list[Any] = []
        while fetched := await consumer.getmany(timeout_ms=QUIET_MS):
            records += [record for batch in fetched.values() for record in batch]
        return records


def now(awaitable: Any) -> Any:
    return asyncio.run(awaitable)
