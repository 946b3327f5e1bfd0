"""Reads topics whole, and again from where it stopped, with a plain client."""

from asyncio import CancelledError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.faults.oracle.log import Log, Record
from tests.faults.oracle.state import FAMILIES, Unreadable, shorten

QUIET_MS = 700


@dataclass
class Reader:
    """A consumer outside of groups, one that asks for the group's offsets, and what was read."""

    consumer: AIOKafkaConsumer
    group: AIOKafkaConsumer
    prefix: str
    changelog: str
    tps: list[TopicPartition]
    log: Log
    newest: dict[bytes | None, int] = field(default_factory=dict)
    """By key, where in `log.changelog` its last record is."""

    async def read_on(self) -> Log:
        """Read to the ends: offsets first, so that all that they cover is in what follows."""
        inputs = [tp for tp in self.tps if tp.topic.removeprefix(self.prefix) in FAMILIES]
        for tp in inputs:
            committed = await self.group.committed(tp)
            if committed is not None and committed >= 0:
                self.log.committed[tp.topic.removeprefix(self.prefix), tp.partition] = committed
        while True:
            fetched = await self.consumer.getmany(timeout_ms=QUIET_MS)
            for records in fetched.values():
                for record in records:
                    self._keep(record)
            if not fetched and await self._at_end():
                return self.log

    async def _at_end(self) -> bool:
        """What one broker says of ends is too low.

        That nothing comes any more was seen before this is asked.
        """
        ends = await self.consumer.end_offsets(self.tps)
        return all([await self.consumer.position(tp) >= end for tp, end in ends.items()])

    def _keep(self, record: object) -> None:
        topic: str = record.topic  # type: ignore[attr-defined]
        family = topic.removeprefix(self.prefix)
        kept = Record(
            family, record.partition, record.offset, record.key, record.value,
            dict(record.headers)  # type: ignore[attr-defined]
        )  # fmt: skip
        parts = {
            "recommendations": self.log.lists,
            "dead-letters": self.log.letters,
            "products": self.log.products,
            self.changelog: self.log.changelog,
        }
        if topic == self.changelog:
            self._shorten_the_one_before(kept)
        parts.get(topic if topic == self.changelog else family, self.log.inputs).append(kept)

    def _shorten_the_one_before(self, record: Record) -> None:
        """A state of 4 KiB an event would fill the memory.

        Only the last of a shopper is needed whole.
        """
        states, before = self.log.changelog, self.newest.get(record.key)
        self.newest[record.key] = len(states)
        if before is not None and (value := states[before].value) is not None:
            # one that cannot be read stays as it is, to be reported
            with suppress(Unreadable):
                states[before] = states[before]._replace(value=shorten(value))


@asynccontextmanager
async def reader(broker: str, app_id: str, prefix: str, partitions: int) -> AsyncIterator[Reader]:
    """Connect; reads what is committed only."""
    changelog = f"{app_id}-user_state-changelog"
    topics = [
        *(prefix + name for name in (*FAMILIES, "recommendations", "dead-letters", "products")),
        changelog,
    ]
    tps = [TopicPartition(topic, partition) for topic in topics for partition in range(partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level="read_committed", max_partition_fetch_bytes=8 << 20,
    )  # fmt: skip
    group = AIOKafkaConsumer(bootstrap_servers=broker, group_id=app_id, enable_auto_commit=False)
    await consumer.start()
    await group.start()
    try:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        group.assign([tp for tp in tps if tp.topic.removeprefix(prefix) in FAMILIES])
        yield Reader(consumer, group, prefix, changelog, tps, Log())
    finally:
        for each in (consumer, group):
            # what a fetch that timed out raises at the end is no verdict
            with suppress(CancelledError, KafkaError):
                await each.stop()
