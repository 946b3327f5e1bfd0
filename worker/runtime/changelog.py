"""The changelog of a table: it is read back, and a former owner's records are recognised.

Without transactions nobody can keep a worker that was suspended past its session from sending what
it had in hand. Such a record is older than what the new owner wrote, but it is the last one in the
log: a *foreign* record. Every record carries the consumer group's generation of its writer, which
grows with each rebalance; and the owner knows which offset its next record must get. So foreign
records are seen while the partition is owned (`foreign_keys`), and when it is read back (`Replay`);
in both cases the owner's state is appended again, so that compaction keeps the right one.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pprm.core.errors import Foreseen
from worker.kafka.batches import Fetch, Record, Unreadable, key_of
from worker.kafka.reader import consumer as consumer_of
from worker.runtime.delivery import Append, Headers
from worker.runtime.table import BatchTable

READ_RECORDS = 2000
IDLE_MS = 500
FETCH_BYTES = 4 << 20
"""Most bytes of a fetch: with a client's usual 1 MB every few hundred states cost a round trip."""
GENERATION = "generation"


class Superseded(RuntimeError):
    """A later generation owns the partition: this worker is the one that was suspended."""


class ChangelogError(Foreseen, RuntimeError):
    """A record of the changelog cannot be read.

    To pass it over would take a shopper back to an older state.
    """


def stamp(generation: int) -> Headers:
    """Headers of a changelog record written in this generation."""
    return [(GENERATION, str(generation).encode())]


def generation_of(record: Record) -> int:
    """Generation in which a record was written, 0 where it does not say."""
    written = dict(record.headers).get(GENERATION) or b""
    return int(written) if written.isdigit() and len(written) < 20 else 0


def _require_readable(record: Record | Unreadable) -> None:
    if isinstance(record, Unreadable):
        raise ChangelogError(f"{record.topic}-{record.partition}: {record.why}")


@asynccontextmanager
async def reader(client: Mapping[str, Any], tp: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    """Make a plain consumer of what is committed in one partition.

    It raises `OffsetOutOfRangeError` instead of starting over.
    """
    consumer = consumer_of(client, auto_offset_reset="none", max_partition_fetch_bytes=FETCH_BYTES)
    await consumer.start()
    try:
        consumer.assign([tp])
        yield consumer
    finally:
        await consumer.stop()


async def to_the_end(
    client: Mapping[str, Any], tp: TopicPartition, start: int | None = None
) -> AsyncIterator[list[Record]]:
    """Yield what is committed in a partition, from an offset to the end, a fetch at a time."""
    async with reader(client, tp) as consumer:
        begin = (await consumer.beginning_offsets([tp]))[tp]
        consumer.seek(tp, max(begin, start or 0))
        while True:
            fetched: Fetch = await consumer.getmany(
                tp, timeout_ms=IDLE_MS, max_records=READ_RECORDS
            )
            if records := fetched.get(tp, []):
                yield records
            elif await consumer.position(tp) >= (await consumer.end_offsets([tp]))[tp]:
                return


class Replay:
    """Applies a partition's changelog to the table, in order, without the foreign records."""

    def __init__(self, table: BatchTable, partition: int) -> None:
        self.table, self.partition = table, partition
        self.generation = table.generation(partition)
        self.overwritten: set[bytes] = set()
        """Keys whose last record in the log is a foreign one."""

    def apply(self, records: Iterable[Record | Unreadable]) -> None:
        """Write records, in the order of the log."""
        updates: dict[bytes, bytes | None] = {}
        offset = -1
        for record in records:
            offset = record.offset
            _require_readable(record)
            if self._is_foreign(record, updates):
                self.overwritten.add(key_of(record))
            else:
                updates[key_of(record)] = record.value
                self.overwritten.discard(key_of(record))
        self.table.write(self.partition, updates, offset, self.generation)

    def _is_foreign(self, record: Record, updates: Mapping[bytes, bytes | None]) -> bool:
        """Whether a record of an earlier generation was not made from the state held.

        Only a record that follows a later generation's is judged.
        """
        generation = generation_of(record)
        if generation >= self.generation:
            self.generation = generation
            return False
        # The generation alone does not prove it: it starts again at 1 when the group is deleted.
        return self._is_older(record, updates)

    def _is_older(self, record: Record, updates: Mapping[bytes, bytes | None]) -> bool:
        """Whether a record was not made from the state held, nor from a later one."""
        key = key_of(record)
        held = updates[key] if key in updates else self.table.get_many(self.partition, [key])[0]
        return held is not None and not (
            record.value is not None and self.table.follows(record.value, held)
        )


class Merge(Replay):
    """Applies a changelog that is not the one of the files.

    What the files hold stays, unless a record was made from it.
    """

    def _is_foreign(self, record: Record, updates: Mapping[bytes, bytes | None]) -> bool:
        self.generation = max(self.generation, generation_of(record))
        return self._is_older(record, updates)


def gaps(expected: int, appends: Iterable[Append]) -> list[range]:
    """Offsets between our own appends, from the one expected: what others wrote."""
    found = []
    for append in appends:
        if append.offset > expected:
            found.append(range(expected, append.offset))
        expected = append.end
    return found


async def foreign_keys(
    client: Mapping[str, Any], tp: TopicPartition, offsets: range, generation: int
) -> set[bytes]:
    """Keys of the records in this range of a changelog that are not of this generation.

    Raises:
        Superseded: there are records of a later one.
        ChangelogError: one of them cannot be read.
    """
    keys: set[bytes] = set()
    async with reader(client, tp) as consumer:
        consumer.seek(tp, offsets.start)
        while await consumer.position(tp) < offsets.stop:
            fetched: Fetch = await consumer.getmany(tp, timeout_ms=1000, max_records=READ_RECORDS)
            for record in fetched.get(tp, []):
                if record.offset >= offsets.stop:
                    break
                _require_readable(record)
                if generation_of(record) > generation:
                    raise Superseded(
                        f"{tp} belongs to generation {generation_of(record)}, this is {generation}"
                    )
                if generation_of(record) < generation:
                    keys.add(key_of(record))
    return keys
