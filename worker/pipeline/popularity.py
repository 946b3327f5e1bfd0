"""Popularity across workers.

Each publishes the counts of its partitions, and reads those of the others.

A small compacted topic, `{app_id}-popularity`, keyed by partition. A partition's owner publishes it
when its counters have changed, at most every `popularity.snapshot_seconds`; also when somebody else
has published it meanwhile, who was its owner once and did not know better. What a worker owns it
counts from the shoppers' states, so nothing is lost.
"""

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from time import time
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer

from pprm.catalogue.popularity import Snapshot, decode_snapshot, encode_snapshot
from pprm.state import user_state
from pprm.state.user_state import DAY, StateError, UserState
from worker.kafka import reader
from worker.kafka.batches import Fetch, Record, Unreadable
from worker.ops.metrics import Metrics
from worker.pipeline.following import Followed
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.gate import Gate
from worker.pipeline.model import Model
from worker.pipeline.ownership import Ownership
from worker.runtime.table import BatchTable

IDLE_MS = 500
COUNTED_AT_ONCE = 2000
"""States in memory at a time."""
WRITER = "writer"
"""Header that names the worker process."""

log = structlog.get_logger(__name__)
_me = uuid.uuid4().hex.encode()


class PopularityExchange:
    """Counts the partitions owned, publishes them, and takes in those of the others."""

    def __init__(
        self,
        topic: str,
        partitions: int,
        snapshot_seconds: float,
        client: Mapping[str, Any],
        table: BatchTable,
        model: Model,
        lists: FreshLists,
        ownership: Ownership,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        """`partitions` are those that a snapshot may be of; `lists` are counted with them."""
        self._topic, self._partitions, self._snapshot_seconds = topic, partitions, snapshot_seconds
        self._client, self._table, self._model, self._counted = client, table, model, lists
        self._ownership, self._gate, self._metrics = ownership, gate, metrics
        self._published: dict[int, int] = {}
        """The last published version of each partition.

        The model thread removes, the event loop sets.
        """

    async def take_over(self, owned: frozenset[int]) -> None:
        """Own these partitions, and count the states of those that are new here.

        Partitions that are gone are left to their next owner.
        """
        new, gone = self._ownership.take_over(owned)

        def disown() -> None:
            self._model.recommender.popularity.disown(gone)
            self._counted.disown(gone)

        await self._model.run(disown)
        await self.recount(new)

    async def recount(self, partitions: Iterable[int]) -> None:
        """Count partitions anew from the shoppers' states, and their lists in force.

        This follows a take-over, or a batch that was counted but not kept.
        """

        def count() -> None:
            popularity, lists = self._model.recommender.popularity, self._counted
            for partition in partitions:
                popularity.own(partition)
                lists.own(partition)
                states = readable_states(self._table, partition)
                while some := dict(islice(states, COUNTED_AT_ONCE)):
                    popularity.add_states(list(some.values()), partition)
                    lists.add_states(list(some), list(some.values()), partition)
                lists.look_for_withdrawn([partition])

        await self._model.run(count)

    async def publish(self) -> None:
        """Publish the partitions owned for ever, whenever they have changed."""
        async with AIOKafkaProducer(
            acks="all", max_request_size=1 << 20, **self._client
        ) as producer:
            while True:
                await asyncio.sleep(self._snapshot_seconds)
                if not self._model.is_loaded:
                    continue
                for partition, (version, snapshot) in (
                    await self._model.run(self._changed)
                ).items():
                    await producer.send_and_wait(
                        self._topic,
                        encode_snapshot(snapshot),
                        str(partition).encode(),
                        partition=0,
                        headers=[(WRITER, _me)],
                    )
                    self._published[partition] = version
                purchases = self._model.recommender.popularity.purchases
                self._metrics.popularity_purchases.set(await self._model.run(purchases))

    def _changed(self) -> dict[int, tuple[int, Snapshot]]:
        popularity, owned = self._model.recommender.popularity, self._ownership.owned
        return {
            partition: (version, popularity.snapshot(partition))
            for partition, version in popularity.versions().items()
            if self._published.get(partition) != version and partition in owned
        }

    async def follow(self) -> None:
        """Take in the snapshots of the other workers for ever."""
        consumer = reader.consumer(self._client, auto_offset_reset="earliest")
        await consumer.start()
        try:
            topic = Followed(consumer, self._topic)
            await topic.begin()
            while True:
                if await topic.keep_up():
                    self._published.clear()  # who starts later knows us from there only
                fetched: Fetch = await consumer.getmany(timeout_ms=IDLE_MS, max_records=100)
                if newest := self._newest(fetched):
                    await self._gate.wait_for_catalogue()
                    await self._model.run(partial(self._take_in, newest))
        finally:
            await consumer.stop()

    def _newest(self, fetched: Fetch) -> dict[int, Snapshot]:
        """The newest snapshot of each partition that another worker has written."""
        newest: dict[int, Snapshot] = {}
        for record in (record for records in fetched.values() for record in records):
            by_other = dict(record.headers).get(WRITER) != _me
            if by_other and (read := _read(record, self._partitions)):
                partition, snapshot = read
                newest[partition] = snapshot
        return newest

    def _take_in(self, snapshots: dict[int, Snapshot]) -> None:
        for partition, snapshot in snapshots.items():
            self._model.recommender.popularity.put(partition, snapshot)
            self._published.pop(partition, None)


def readable_states(table: BatchTable, partition: int) -> Iterator[tuple[bytes, UserState]]:
    """Keys and states of all shoppers of a partition whose states can be read."""
    for key, value in table.scan(partition):
        try:
            state = user_state.decode(value)
        except StateError:  # it becomes a dead letter when its shopper's next event comes
            continue
        yield key, state


def _read(record: Record | Unreadable, partitions: int) -> tuple[int, Snapshot] | None:
    """Partition and snapshot of a record, None where it is not one."""
    try:
        if isinstance(record, Unreadable):
            raise ValueError(record.why)
        partition = int(record.key or b"")
        if not 0 <= partition < partitions:
            raise ValueError(f"there is no partition {partition}")
        return partition, decode_snapshot(record.value or b"", int(time() // DAY) + 1)
    except (TypeError, ValueError) as error:
        log.warning("a popularity snapshot was passed over", offset=record.offset, error=str(error))
        return None
