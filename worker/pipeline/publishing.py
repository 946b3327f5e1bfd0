"""Writes the results of a micro-batch: states to the changelog, lists, dead letters.

Then the states go to RocksDB.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from aiokafka import TopicPartition as ClientPartition
from aiokafka.structs import OffsetAndMetadata

from pprm.core.events import Request
from pprm.state import user_state
from schemas.recommendations import Cause
from worker.pipeline import codec, letters
from worker.pipeline.codec import Answer, Trigger
from worker.pipeline.context import Components
from worker.pipeline.work import Shopper, Values, Work
from worker.runtime import changelog
from worker.runtime.delivery import DEFAULT_LIMIT, Append, Appends, NotOurs, Row, Rows
from worker.runtime.ledger import TopicPartition
from worker.runtime.stream import MicroBatch


def encode(c: Components, work: Work) -> None:
    """Make `work.values` and `work.rows`.

    Rows are states, lists and dead letters, by unit of work and partition.
    """
    now = datetime.now(UTC)
    lists, dead = c.settings.topics.name("recommendations"), c.settings.topics.name("dead_letters")
    limit = c.app.delivery.limits.get(dead, DEFAULT_LIMIT)
    log, stamp = c.settings.changelog, changelog.stamp(c.generation)

    def add(unit: str, topic: str, partition: int, row: Row) -> None:
        work.rows[unit][topic, partition].append(row)

    for shopper in work.shoppers:
        unit, partition = c.unit("users", shopper.partition), shopper.partition
        value = work.values[partition][shopper.key] = user_state.encode(shopper.state)
        add(unit, log, partition, Row(shopper.key, value, stamp))
        if (row := _list_row(c, shopper, now)) is not None:
            add(unit, lists, partition, row)
        if shopper.damaged is not None:
            letter = letters.damaged_state(shopper.key, shopper.damaged, log, partition, limit)
            add(unit, dead, partition % c.dead_letter_partitions, letter)
    for partition, record, invalid in work.refused:
        letter = letters.dead_letter(record, invalid, limit)
        add(
            c.unit(c.families[record.topic], partition),
            dead,
            partition % c.dead_letter_partitions,
            letter,
        )


async def publish(c: Components, batch: MicroBatch, rows: Mapping[str, Rows]) -> Appends:
    """Send a micro-batch's rows and await all; returns what the changelog's partitions took.

    Raises:     NotOurs: a rebalance took the partitions meanwhile: nothing of the batch counts.
    """
    offsets = defaultdict[str, dict[TopicPartition, OffsetAndMetadata]](dict)
    for (topic, partition), end in batch.ends.items():
        commit = c.app.consumer.commit_of((topic, partition), end)
        offsets[c.unit(c.families[topic], partition)][topic, partition] = commit

    def ours() -> bool:
        return c.epoch == batch.epoch

    units = rows.keys() | offsets.keys()
    if not ours():
        raise NotOurs
    written = await asyncio.gather(
        *(c.app.delivery.write(unit, rows.get(unit, {}), offsets[unit], ours) for unit in units),
        return_exceptions=True,
    )
    for result in written:  # only now: none may still be at work when the next batch is written
        if isinstance(result, BaseException):
            raise result
    if not ours():
        raise NotOurs
    appended = {
        tp: appends
        for result in written
        if isinstance(result, dict)
        for tp, appends in result.items()
    }
    return {tp: appends for tp, appends in appended.items() if tp[0] == c.settings.changelog}


def _list_row(c: Components, shopper: Shopper, now: datetime) -> Row | None:
    record, decoded = shopper.last
    if shopper.withdraws:
        return Row(shopper.key, None)
    if shopper.ranked is None:
        return None
    cause: Cause = "request" if isinstance(decoded.event, Request) else "event"
    answer = Answer(
        decoded.user_id,
        shopper.state.version,
        Trigger(cause, record.topic, record.partition, record.offset, decoded.event_id),
        c.recommender.model,
        shopper.ranked.items,
        record.headers,
    )
    return Row(*codec.encode_recommendation(answer, now))


async def store(c: Components, batch: MicroBatch, values: Values, appended: Appends) -> None:
    """Store a micro-batch's states: one RocksDB WriteBatch per partition.

    It has the changelog offset that covers it. Before, look whether another worker wrote to the
    changelog; afterwards, write over what a former owner left there.

    Raises:     NotOurs: a rebalance took the partitions meanwhile.
    worker.runtime.changelog.Superseded: this worker was suspended; others went on without it.
    """
    foreign = {tp[1]: await _foreign(c, tp, appends) for tp, appends in appended.items()}
    if c.epoch != batch.epoch:
        raise NotOurs
    for (_, partition), appends in appended.items():
        c.table.next_append[partition] = appends[-1].end
    for partition in _cover(c, batch) | {partition for _, partition in appended}:
        c.table.write(
            partition, values.get(partition, {}), c.table.next_append[partition] - 1, c.generation
        )
    for partition, keys in foreign.items():
        await append_again(c, partition, keys)


def _cover(c: Components, batch: MicroBatch) -> set[int]:
    """Have the table note what its states will hold of the input.

    Returns the partitions that are concerned.
    """
    keyed = {tp: end for tp, end in batch.ends.items() if tp[0] in c.app.keyed}
    for (topic, partition), end in keyed.items():
        c.table.cover(partition, {topic: (c.app.consumer.notes[topic, partition].log, end)})
    return {partition for _, partition in keyed}


async def _foreign(c: Components, tp: TopicPartition, appends: list[Append]) -> set[bytes]:
    """Keys that somebody else wrote among our appends."""
    # a transaction keeps others out, and its markers take offsets
    if c.app.delivery.commits_offsets:
        return set()
    keys: set[bytes] = set()
    for offsets in changelog.gaps(c.table.next_append[tp[1]], appends):
        keys |= await changelog.foreign_keys(
            c.app.kafka_client_settings, ClientPartition(*tp), offsets, c.generation
        )
    return keys


async def look_for_foreign_writes(c: Components, ends: dict[TopicPartition, int]) -> None:
    """Repair what a former owner wrote behind our last append.

    `ends` are end offsets of changelog partitions.
    """
    async with c.writing:
        for tp, end in ends.items():
            expected = c.table.next_append.get(tp[1])
            if (
                expected is None
                or end <= expected
                or tp[1] not in c.owned
                or c.app.delivery.commits_offsets
            ):
                continue
            epoch, generation = c.epoch, c.generation
            keys = await changelog.foreign_keys(
                c.app.kafka_client_settings, ClientPartition(*tp), range(expected, end), generation
            )
            if c.epoch == epoch:
                c.table.next_append[tp[1]] = end
                await append_again(c, tp[1], keys)


async def append_again(c: Components, partition: int, keys: Iterable[bytes]) -> None:
    """Append the states that we hold of these keys.

    The last record of each in the log must be ours.
    """
    wanted = sorted(keys)
    if not wanted:
        return
    c.metrics.foreign_writes.inc(len(wanted))
    values = c.table.get_many(partition, wanted)
    rows = [
        Row(key, value, changelog.stamp(c.generation))
        for key, value in zip(wanted, values, strict=True)
    ]
    tp, epoch = (c.settings.changelog, partition), c.epoch
    appended = await c.app.delivery.write(
        c.unit("users", partition), {tp: rows}, {}, lambda: c.epoch == epoch
    )
    if c.epoch == epoch:
        c.table.write(partition, {}, appended[tp][-1].end - 1, c.generation)
        c.table.next_append[partition] = appended[tp][-1].end
