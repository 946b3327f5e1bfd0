"""How aiokafka's consumers read here.

They read committed records only, whatever a batch holds, and an error never ends them silently.

All of the worker's consumers are made by `consumer`, except for Faust's, which `worker.runtime`
sets up the same way. aiokafka has no settings for this, so `install` puts our classes in the place
of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import aiokafka.consumer.consumer as client
import aiokafka.consumer.fetcher as fetcher
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from worker.kafka import batches
from worker.kafka.batches import Record

READ_COMMITTED = "read_committed"
"""What an upstream's transaction aborted never happened (KIP-98)."""
MAX_READ_BYTES = 32 << 20
"""Decompressed bytes after which a read ends; the batch in hand comes on top."""
CRC_TRIES = 3
"""Fetches before a wrong checksum makes a batch unreadable: it may be the network's fault."""

log = structlog.get_logger(__name__)


def consumer(settings: Mapping[str, Any], **options: Any) -> AIOKafkaConsumer:
    """A plain consumer that commits nothing by itself.

    `settings` are those of every client of the broker.
    """
    install()
    return AIOKafkaConsumer(
        enable_auto_commit=False, isolation_level=READ_COMMITTED, **options, **settings
    )


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """The connections of a consumer, for questions that it has no method for."""
    return consumer._client


def install() -> None:
    """Have aiokafka's consumers in this process read like this."""
    fetcher.MemoryRecords = batches.Batches
    fetcher.PartitionRecords = RunRecords
    fetcher.FetchResult = RunResult
    client.Fetcher = Fetcher


class Fetcher(fetcher.Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, whose readers learn when its task has failed.

    Otherwise they would wait for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fetch_task.add_done_callback(lambda task: self._fail_waiting())

    async def fetched_records(self, *args: Any, **kwargs: Any) -> Any:
        """Do what aiokafka's does, and raise what ended the fetcher's task."""
        self._raise_what_failed()
        subscription = self._subscriptions.subscription
        if subscription is not None and subscription.assignment is not None:
            subscription.assignment.room = MAX_READ_BYTES
        return await super().fetched_records(*args, **kwargs)

    async def next_record(self, partitions: Any) -> Any:
        """Do what aiokafka's does, and raise what ended the fetcher's task."""
        self._raise_what_failed()
        return await super().next_record(partitions)

    async def close(self) -> None:
        """As aiokafka's; what failed was said, and the consumer has more to close.

        aiokafka's ends at the first fetch that waits for a broker that is away, with its
        cancellation.
        """
        tasks = [self._fetch_task, *self._pending_tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pending_tasks.clear()
        with suppress(KafkaError):
            await super().close()

    def _raise_what_failed(self) -> None:
        if self._fetch_task.done() and not self._fetch_task.cancelled():
            self._fetch_task.result()

    def _fail_waiting(self) -> None:
        if not self._fetch_task.cancelled() and (error := self._fetch_task.exception()):
            for waiter in [waiter for waiter in self._fetch_waiters if not waiter.done()]:
                waiter.set_exception(error)


class Run(list[Record]):
    """Records of one partition that a fetch returned, and the positions before and after it."""

    def __init__(self, start: int, end: int, records: list[Record], size: int = 0) -> None:
        self.start, self.end = start, end
        self.size = size
        """Bytes of the batches that were opened for these records."""
        super().__init__(records)


class RunRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of a fetch, as `Record`; what cannot be read keeps its place."""

    next_fetch_offset: int
    opened = 0
    """Bytes of all batches opened so far, decompressed."""

    def __iter__(self) -> Iterator[Record]:
        return self._records_iterator  # type: ignore[no-any-return]  # without a call for each record

    def _unpack_records(self) -> Iterator[Record]:
        while self._records.has_next():
            raw = self._records.next_batch()
            batch = batches.parser(raw)
            if self._check_crcs and not batch.validate_crc():
                if self._is_tried_again(self.next_fetch_offset):
                    return
                yield self._unreadable(raw, ValueError("its checksum does not fit"))
            elif not self._is_passed_over(batch):
                yield from self._read(raw, batch)
            self.next_fetch_offset = batch.next_offset

    def _read(self, raw: memoryview, batch: Any) -> Iterator[Record]:
        begun = range(getattr(batch, "base_offset", 0), self.next_fetch_offset)
        try:
            data = batches.uncompressed(raw)
            self.opened += len(data)
            for record in batches.parser(data):
                if record.offset >= self.next_fetch_offset:
                    made = self._consumer_record(self._tp, record)
                    self.next_fetch_offset = record.offset + 1
                    yield made
                elif record.offset not in begun:
                    raise ValueError("the offsets of its records are not in order")
        except batches.REFUSED:
            yield from self._salvage(raw)

    def _salvage(self, raw: memoryview) -> Iterator[Record]:
        """What can be read of a batch that aiokafka's parser refused, from the next offset on."""
        try:
            for record in batches.salvage(
                self._tp.topic, self._tp.partition, batches.uncompressed(raw)
            ):
                if record.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = record.offset + 1
                    yield record
        except batches.REFUSED as error:
            yield self._unreadable(raw, error)

    def _unreadable(self, raw: memoryview, why: Exception) -> Record:
        made = batches.unreadable(
            self._tp.topic, self._tp.partition, raw, self.next_fetch_offset, why
        )
        self.next_fetch_offset = made.offset + 1
        return made

    def _is_tried_again(self, offset: int) -> bool:
        _crc_tries[(self._tp, offset)] += 1
        tries = _crc_tries[(self._tp, offset)]
        log.warning(
            "a checksum does not fit",
            topic=self._tp.topic,
            partition=self._tp.partition,
            offset=offset,
        )
        return tries < CRC_TRIES

    def _is_passed_over(self, batch: Any) -> bool:
        """Whether a batch is a transaction's marker, or was aborted."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _consumer_record(self, tp: Any, record: Any) -> Record:
        return Record(
            tp.topic, tp.partition, record.offset, record.timestamp, record.timestamp_type,
            record.key, record.value,
            tuple(record.headers),
        )  # fmt: skip


_crc_tries = Counter[tuple[Any, int]]()
"""By partition and offset: how often a batch's checksum did not fit."""


class RunResult(fetcher.FetchResult):  # type: ignore[misc]
    """aiokafka's fetch result with its first offset, to tell compaction from a lost record."""

    def getall(self, max_records: int | None = None) -> list[Record]:
        """Return what was fetched, as a `Run`.

        That is all of it, so many records, or what the read has room for.
        """
        part, assignment = self._partition_records, self._assignment
        if part is None or not self.check_assignment(self._topic_partition):
            return []
        if (room := getattr(assignment, "room", MAX_READ_BYTES)) <= 0:
            return []
        state, start, opened = (
            assignment.state_value(self._topic_partition),
            part.next_fetch_offset,
            part.opened,
        )
        began, ended = getattr(state, "markers", _NONE)
        began = began if ended == start else start
        records = self._take(part, max_records, opened + room)
        self._update_position_to(part)
        assignment.room = room - (part.opened - opened)
        # A fetch of nothing but transaction markers or aborted records: the next run begins where
        # this one did.
        state.markers = _NONE if records else (began, state.position)
        return Run(began, state.position, records, part.opened - opened) if records else []

    def _take(self, part: RunRecords, most: int | None, until: int) -> list[Record]:
        records = []
        for record in part:
            records.append(record)
            if len(records) == most or part.opened >= until:
                return records
        self._partition_records = None
        return records

    def _update_position_to(self, part: RunRecords) -> None:
        self._assignment.state_value(self._topic_partition).consumed_to(part.next_fetch_offset)


_NONE = (-1, -1)


def only_markers(state: Any, offset: int) -> bool:
    """Whether all fetched of a partition from an offset on is markers or aborted records."""
    began, ended = getattr(state, "markers", _NONE)
    return bool(began <= offset and ended == state.position)
