"""The shoppers' states, as the table and the changelog hold them together.

Whoever owned a partition before may write to its changelog still. What they wrote is found by the
offsets that our own appends left out, and written over.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition as ClientPartition

from worker.ops.metrics import Metrics
from worker.pipeline.ownership import Ownership
from worker.pipeline.work import Values, unit_of
from worker.runtime import changelog
from worker.runtime.delivery import Append, Appends, Delivery, NotOurs, Row
from worker.runtime.ledger import TopicPartition
from worker.runtime.stream import MicroBatch
from worker.runtime.table import BatchTable


class States:
    """Stores what is published, and keeps the changelog's last record of each shopper ours."""

    def __init__(
        self,
        changelog: str,
        keyed: frozenset[str],
        table: BatchTable,
        delivery: Delivery,
        ownership: Ownership,
        client: Mapping[str, Any],
        metrics: Metrics,
    ) -> None:
        """`keyed` are the input topics cut like the table, `client` reads the changelog back."""
        self._changelog, self._keyed = changelog, keyed
        self._table, self._delivery, self._ownership = table, delivery, ownership
        self._client, self._metrics = client, metrics
        self.writing = asyncio.Lock()
        """Held while changelog and table are written: one writer at a time."""

    async def store(self, batch: MicroBatch, values: Values, appended: Appends) -> None:
        """Store a micro-batch's states: one RocksDB WriteBatch per partition.

        It has the changelog offset that covers it. Before, look whether another worker wrote to the
        changelog; afterwards, write over what a former owner left there.

        Raises:
            NotOurs: a rebalance took the partitions meanwhile.
            worker.runtime.changelog.Superseded: this worker was suspended; others went on without
                it.
        """
        table, ownership = self._table, self._ownership
        foreign = {tp[1]: await self._foreign(tp, appends) for tp, appends in appended.items()}
        if ownership.epoch != batch.epoch:
            raise NotOurs
        for (_, partition), appends in appended.items():
            table.next_append[partition] = appends[-1].end
        for partition in self._cover(batch) | {partition for _, partition in appended}:
            covered_to = table.next_append[partition] - 1
            table.write(partition, values.get(partition, {}), covered_to, ownership.generation)
        for partition, keys in foreign.items():
            await self.append_again(partition, keys)

    def _cover(self, batch: MicroBatch) -> set[int]:
        """Have the table note what its states will hold of the input.

        Returns the partitions that are concerned.
        """
        keyed = {tp: end for tp, end in batch.ends.items() if tp[0] in self._keyed}
        for (topic, partition), end in keyed.items():
            log = self._ownership.log_of(topic, partition)
            self._table.cover(partition, {topic: (log, end)})
        return {partition for _, partition in keyed}

    async def _foreign(self, tp: TopicPartition, appends: list[Append]) -> set[bytes]:
        """Keys that somebody else wrote among our appends."""
        # a transaction keeps others out, and its markers take offsets
        if self._delivery.commits_offsets:
            return set()
        keys: set[bytes] = set()
        for offsets in changelog.gaps(self._table.next_append[tp[1]], appends):
            keys |= await changelog.foreign_keys(
                self._client, ClientPartition(*tp), offsets, self._ownership.generation
            )
        return keys

    async def look_for_foreign_writes(self, ends: Mapping[TopicPartition, int]) -> None:
        """Repair what a former owner wrote behind our last append.

        `ends` are end offsets of changelog partitions.
        """
        ownership, next_append = self._ownership, self._table.next_append
        async with self.writing:
            for tp, end in ends.items():
                expected = next_append.get(tp[1])
                if (
                    expected is None
                    or end <= expected
                    or tp[1] not in ownership.owned
                    or self._delivery.commits_offsets
                ):
                    continue
                epoch, generation = ownership.epoch, ownership.generation
                keys = await changelog.foreign_keys(
                    self._client, ClientPartition(*tp), range(expected, end), generation
                )
                if ownership.epoch == epoch:
                    next_append[tp[1]] = end
                    await self.append_again(tp[1], keys)

    async def append_again(self, partition: int, keys: Iterable[bytes]) -> None:
        """Append the states that we hold of these keys.

        The last record of each in the log must be ours.
        """
        wanted = sorted(keys)
        if not wanted:
            return
        table, ownership = self._table, self._ownership
        self._metrics.foreign_writes.inc(len(wanted))
        values = table.get_many(partition, wanted)
        stamp = changelog.stamp(ownership.generation)
        rows = [Row(key, value, stamp) for key, value in zip(wanted, values, strict=True)]
        tp, epoch = (self._changelog, partition), ownership.epoch
        appended = await self._delivery.write(
            unit_of("users", partition), {tp: rows}, {}, lambda: ownership.epoch == epoch
        )
        if ownership.epoch == epoch:
            end = appended[tp][-1].end
            table.write(partition, {}, end - 1, ownership.generation)
            table.next_append[partition] = end
