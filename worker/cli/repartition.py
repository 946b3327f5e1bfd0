"""`pprm repartition` makes more partitions, and moves the states.

The user-keyed topics get more partitions, and every shopper's state moves to its new one.

The input topics grow last. Until then their numbers of partitions differ from the changelog's, so
no worker starts on states that are half moved; and whoever was killed in the middle runs the
command again: a state is written to its new partition, acknowledged, and only then deleted from the
old one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import rocksdict
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions

from pprm.state import user_state
from schemas.families import USER_KEYED
from worker.kafka import reader
from worker.kafka.batches import Record
from worker.kafka.partitioner import partition_of
from worker.kafka.topics import TopicsError, admin_client, partition_counts, require_there
from worker.runtime import changelog
from worker.runtime.delivery import MAX_BATCH_BYTES, Headers, Row, Rows, append_rows
from worker.settings import Partitioner, Settings, client_settings

AT_ONCE = 500
"""States in memory at a time."""
Announce = Callable[[str], None]


async def run(settings: Settings, partitions: int, announce: Announce) -> None:
    """Move everything to so many partitions.

    Raises:
        TopicsError: it cannot be done now; the message says what to do first.
    """
    client, name = client_settings(settings.kafka), settings.topics.name
    inputs = [name(family) for family in USER_KEYED]
    outputs = [settings.changelog, settings.rekeyed_topic, name("recommendations")]
    counts = await partition_counts(client, [*inputs, *outputs])
    require_there(counts)
    before = min(counts.values())
    if most := [f"{topic} has {count}" for topic, count in counts.items() if count > partitions]:
        raise TopicsError(
            f"Kafka cannot take partitions away: {', '.join(most)}. Name at least as many."
        )
    if before == partitions:
        announce(f"all topics have {partitions} partitions: nothing to do")
        return
    if before < (begun := counts[settings.changelog]) < partitions:
        raise TopicsError(
            f"a run to {begun} partitions was not finished, and has moved states: run it again to"
            f" {begun}, then to {partitions}"
        )
    await _require_no_worker(client, settings.app_id)
    await _require_all_read(client, settings, [*inputs, settings.rekeyed_topic])
    await _grow(client, outputs, partitions, announce)
    await _move_states(client, settings, before, partitions, announce)
    await _copy_lists(client, settings, before, partitions, announce)
    await _grow(client, inputs, partitions, announce)
    announce(
        f"done: set topics.partitions to {partitions}"
        " (PPRM_TOPICS__PARTITIONS), then start the workers"
    )
    for topic, left in (await _unread(client, settings, inputs)).items():
        announce(f"{topic}: {left:,} records came meanwhile. {REKEY_FIRST}")


REKEY_FIRST = (
    "Start the workers with topics.partitioner = any, which brings what lies in"
    " an old partition to its shopper's new one; set it back when the lag is 0"
)


async def _require_no_worker(client: Mapping[str, Any], group: str) -> None:
    async with admin_client(client) as admin:
        (response,) = await admin.describe_consumer_groups([group])
    ((_, _, state, _, _, members, *_),) = response.groups
    if members:
        raise TopicsError(
            f"stop all workers first: the group {group} has {len(members)} members ({state})"
        )


async def _require_all_read(
    client: Mapping[str, Any], settings: Settings, topics: Sequence[str]
) -> None:
    unread = await _unread(client, settings, topics)
    if not unread or settings.topics.partitioner == "any":
        return
    listed = ", ".join(f"{topic}: {count:,}" for topic, count in unread.items())
    raise TopicsError(
        f"there are records that no worker has read: {listed}. They lie by the old number"
        " of partitions. Stop the producers, let the workers read all, stop the workers,"
        " and run this again. Where no worker can start, since the numbers of partitions"
        f" differ already, run this with topics.partitioner = any. {REKEY_FIRST}"
    )


async def _unread(
    client: Mapping[str, Any], settings: Settings, topics: Sequence[str]
) -> dict[str, int]:
    """Records behind the group's offsets, by topic; transaction markers are none."""
    counts, unread = await partition_counts(client, topics), Counter[str]()
    tps = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count)]
    async with reader.consumer(client, group_id=settings.app_id) as group:
        group.assign(tps)
        begin, ends = await group.beginning_offsets(tps), await group.end_offsets(tps)
        done = {tp: max(begin[tp], await group.committed(tp) or 0) for tp in tps}
    for tp in tps:
        if done[tp] < ends[tp]:
            unread[tp.topic] += sum(
                [len(records) async for records in changelog.to_the_end(client, tp, done[tp])]
            )
    return {topic: count for topic, count in unread.items() if count}


async def _grow(
    client: Mapping[str, Any], topics: Iterable[str], partitions: int, announce: Announce
) -> None:
    counts = await partition_counts(client, topics)
    for topic in [topic for topic, count in counts.items() if count < partitions]:
        async with admin_client(client) as admin:
            await admin.create_partitions({topic: NewPartitions(partitions)})
        while (await partition_counts(client, [topic]))[topic] < partitions:
            await asyncio.sleep(0.2)
        announce(f"{topic}: {counts[topic]} partitions are {partitions} now")


async def _move_states(
    client: Mapping[str, Any], settings: Settings, before: int, after: int, announce: Announce
) -> None:
    """Move each state that lies where its key belonged to where it belongs now.

    One that lies elsewhere, of another partitioner or of a shopper who was forgotten in every
    partition, stays. All are read first: what is moved must follow whatever the target holds, which
    is asked of its writer's generation (`changelog.Replay`).
    """
    topic, homes = settings.changelog, Homes(settings.topics.partitioner, before, after)
    count = (await partition_counts(client, [topic]))[topic]
    with ExitStack() as stack:
        tables, generation = [stack.enter_context(_table()) for _ in range(count)], 0
        for partition, table in enumerate(tables):
            replay = changelog.Replay(table, partition)  # type: ignore[arg-type]
            async for records in changelog.to_the_end(client, TopicPartition(topic, partition)):
                replay.apply(records)
            generation = max(generation, replay.generation)
            announce(f"{topic}: partition {partition} of {count} read")
        stamp = changelog.stamp(generation)
        for partition, table in enumerate(tables[:before]):
            leaving, moved = _leaving(homes, table, partition), 0
            async with _producer(client) as producer:
                while states := list(islice(leaving, AT_ONCE)):
                    there, here = _rows(topic, partition, states, stamp)
                    await append_rows(producer, there)
                    await append_rows(producer, here)
                    moved += len(states)
            announce(f"{topic}: {moved:,} states moved from partition {partition}")


class Homes(NamedTuple):
    """Where keys belong, with so many partitions before and after."""

    partitioner: Partitioner
    before: int
    after: int

    def target(self, key: bytes, partition: int) -> int | None:
        """Return the partition to which a key of this one moves.

        None where it stays, or does not belong here.
        """
        if partition_of(self.partitioner, key, self.before) != partition:
            return None
        target = partition_of(self.partitioner, key, self.after)
        return None if target == partition else target


Moving = tuple[int, bytes, bytes]
"""To which partition, key, state."""


def _leaving(homes: Homes, table: "_Table", partition: int) -> Iterator[Moving]:
    for key, value in table.items():
        if (target := homes.target(key, partition)) is not None:
            yield target, key, value


def _rows(
    topic: str, partition: int, states: Sequence[Moving], stamp: Headers
) -> tuple[Rows, Rows]:
    """Return the rows that put states into their new partitions, then those that delete the old."""
    there: dict[tuple[str, int], list[Row]] = {}
    for target, key, value in states:
        there.setdefault((topic, target), []).append(Row(key, value, stamp))
    return there, {(topic, partition): [Row(key, None, stamp) for _, key, _ in states]}


async def _copy_lists(
    client: Mapping[str, Any], settings: Settings, before: int, after: int, announce: Announce
) -> None:
    """Copy each shopper's newest list to its new partition.

    The one in the old partition stays until retention takes it: a null would tell consumers that
    the shopper is gone.
    """
    topic, copied = settings.topics.name("recommendations"), 0
    homes = Homes(settings.topics.partitioner, before, after)
    for partition in range(before):
        tp, newest = TopicPartition(topic, partition), dict[bytes, int]()
        async for records in changelog.to_the_end(client, tp):
            newest |= {record.key: record.offset for record in records if record.key}
        async with _producer(client) as producer:
            async for records in changelog.to_the_end(client, tp):
                rows: dict[tuple[str, int], list[Row]] = {}
                for record in records:
                    if record.value is None or record.key is None:
                        continue
                    if newest.get(record.key) != record.offset:
                        continue
                    if (target := homes.target(record.key, partition)) is not None:
                        rows.setdefault((topic, target), []).append(
                            Row(record.key, record.value, _headers(record))
                        )
                await append_rows(producer, rows)
                copied += sum(map(len, rows.values()))
    announce(f"{topic}: {copied:,} lists copied")


def _headers(record: Record) -> Headers:
    return [(name, value or b"") for name, value in record.headers]


def _producer(client: Mapping[str, Any]) -> AIOKafkaProducer:
    return AIOKafkaProducer(acks="all", linger_ms=0, max_batch_size=MAX_BATCH_BYTES, **client)


@contextmanager
def _table() -> Iterator["_Table"]:
    """A table that is gone after the block."""
    with TemporaryDirectory(prefix="pprm-repartition-") as directory:
        table = _Table(Path(directory) / "states")
        try:
            yield table
        finally:
            table.close()


class _Table:
    """As much of a table as reading a changelog needs, in a RocksDB of its own.

    So memory does not grow with the states.
    """

    follows = staticmethod(user_state.follows)

    def __init__(self, directory: Path) -> None:
        self._db = rocksdict.Rdict(str(directory), rocksdict.Options(raw_mode=True))

    def generation(self, partition: int) -> int:
        return 0

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = self._db.get(list(keys))
        return found

    def write(
        self, partition: int, updates: Mapping[bytes, bytes | None], offset: int, generation: int
    ) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in updates.items():
            batch.delete(key) if value is None else batch.put(key, value)
        self._db.write(batch)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from self._db.items()

    def close(self) -> None:
        self._db.close()
