"""Popularity across workers.

Each publishes the counts of its partitions, and reads those of the others.

A small compacted topic, `{app_id}-popularity`, keyed by partition. A partition's owner publishes it
when its counters have changed, at most every `popularity.snapshot_seconds`; also when somebody else
has published it meanwhile, who was its owner once and did not know better. What a worker owns it
counts from the shoppers' states, so nothing is lost.
"""

import asyncio
import uuid
from collections.abc import Iterable
from functools import partial
from itertools import islice
from time import time

import structlog
from aiokafka import AIOKafkaProducer

from pprm.catalogue.popularity import Snapshot, decode_snapshot, encode_snapshot
from pprm.state.user_state import DAY
from worker.kafka import reader
from worker.kafka.batches import Fetch, Record, Unreadable
from worker.pipeline.context import Components
from worker.pipeline.following import Followed

IDLE_MS = 500
COUNTED_AT_ONCE = 2000
"""States in memory at a time."""
WRITER = "writer"
"""Header that names the worker process."""

log = structlog.get_logger(__name__)
_me = uuid.uuid4().hex.encode()


async def take_over(c: Components, owned: frozenset[int]) -> None:
    """Count the states of the partitions that are new here.

    Partitions that are gone are left to their next owner.
    """
    new, gone = owned - c.owned, c.owned - owned
    c.owned = owned
    await c.model.run(lambda: c.recommender.popularity.disown(gone))
    await recount(c, new)


async def recount(c: Components, partitions: Iterable[int]) -> None:
    """Count partitions anew from the shoppers' states.

    This follows a take-over, or a batch that was counted but not kept.
    """

    def count() -> None:
        popularity = c.recommender.popularity
        for partition in partitions:
            popularity.own(partition)
            states = c.states([partition])
            while some := list(islice(states, COUNTED_AT_ONCE)):
                popularity.add_states(some, partition)

    await c.model.run(count)


async def publish(c: Components) -> None:
    """Publish the partitions owned for ever, whenever they have changed."""
    topic = c.settings.popularity_topic
    async with AIOKafkaProducer(
        acks="all", max_request_size=1 << 20, **c.app.kafka_client_settings
    ) as producer:
        while True:
            await asyncio.sleep(c.settings.popularity.snapshot_seconds)
            if not c.loaded:
                continue
            for partition, (version, snapshot) in (await c.model.run(lambda: _changed(c))).items():
                headers = [(WRITER, _me)]
                value = encode_snapshot(snapshot)
                await producer.send_and_wait(
                    topic, value, str(partition).encode(), partition=0, headers=headers
                )
                c.popularity_published[partition] = version
            c.metrics.popularity_purchases.set(
                await c.model.run(c.recommender.popularity.purchases)
            )


def _changed(c: Components) -> dict[int, tuple[int, Snapshot]]:
    popularity, published = c.recommender.popularity, c.popularity_published
    return {
        partition: (version, popularity.snapshot(partition))
        for partition, version in popularity.versions().items()
        if published.get(partition) != version and partition in c.owned
    }


async def follow(c: Components) -> None:
    """Take in the snapshots of the other workers for ever."""
    consumer = reader.consumer(c.app.kafka_client_settings, auto_offset_reset="earliest")
    await consumer.start()
    try:
        topic = Followed(consumer, c.settings.popularity_topic)
        await topic.begin()
        while True:
            if await topic.keep_up():
                c.popularity_published.clear()  # who starts later knows us from there only
            newest: dict[int, Snapshot] = {}
            fetched: Fetch = await consumer.getmany(timeout_ms=IDLE_MS, max_records=100)
            for record in (record for records in fetched.values() for record in records):
                if dict(record.headers).get(WRITER) != _me and (said := _read(c, record)):
                    newest[said[0]] = said[1]
            if newest:
                await c.catalogue_read.wait()
                await c.model.run(partial(_take_in, c, newest))
    finally:
        await consumer.stop()


def _read(c: Components, record: Record | Unreadable) -> tuple[int, Snapshot] | None:
    """Partition and snapshot of a record, None where it is not one."""
    try:
        if isinstance(record, Unreadable):
            raise ValueError(record.why)
        partition = int(record.key or b"")
        if not 0 <= partition < c.settings.topics.partitions:
            raise ValueError(f"there is no partition {partition}")
        return partition, decode_snapshot(record.value or b"", int(time() // DAY) + 1)
    except (TypeError, ValueError) as error:
        log.warning("a popularity snapshot was passed over", offset=record.offset, error=str(error))
        return None


def _take_in(c: Components, snapshots: dict[int, Snapshot]) -> None:
    for partition, snapshot in snapshots.items():
        c.recommender.popularity.put(partition, snapshot)
        c.popularity_published.pop(partition, None)
