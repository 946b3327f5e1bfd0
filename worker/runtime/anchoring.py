"""Finds where each assigned partition goes on.

It asks the broker, and `commits.anchor` judges the answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from worker.kafka.reader import client_of
from worker.runtime import metadata
from worker.runtime.changelog import reader
from worker.runtime.commits import Anchor, Note, anchor

FETCH_MS = 1000


class Anchored(NamedTuple):
    """A partition, and where it is gone on from."""

    commit: OffsetAndMetadata | None
    """The group's, None where there is none."""
    note: Note
    """Which log it is gone on from."""
    anchor: Anchor


async def look(
    consumer: AIOKafkaConsumer, client: Mapping[str, Any], tps: Iterable[TopicPartition]
) -> dict[TopicPartition, Anchored]:
    """Look at partitions of input topics; those of topics that do not exist any more are left out.

    Args:
        consumer: of the group.
        client: keyword arguments of a plain aiokafka client.
        tps: partitions, assigned or not.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer, or a topic became another one
        meanwhile: ask again.
    """
    wanted = list(tps)
    names = {tp.topic for tp in wanted}
    topics = await metadata.describe(client_of(consumer), names)
    there = [
        tp for tp in wanted if tp.topic in topics and tp.partition < topics[tp.topic].partitions
    ]
    commits = await committed(consumer, there)
    begins = await consumer.beginning_offsets(there) if there else {}
    ends = await _ends(consumer, client, there, commits)
    if await metadata.describe(client_of(consumer), names) != topics:
        raise KafkaTimeoutError("topics changed while they were looked at")
    found = {}
    for tp in there:
        number = topics[tp.topic].log
        judged = anchor(commits.get(tp), number, begins[tp], ends[tp])
        found[tp] = Anchored(commits.get(tp), Note(number, judged.log), judged)
    return found


async def committed(
    consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the group has committed, with its notes."""
    if not tps:
        return {}
    found: dict[
        TopicPartition, OffsetAndMetadata
    ] = await consumer._coordinator.fetch_committed_offsets(list(tps))
    return found


async def _ends(
    consumer: AIOKafkaConsumer,
    client: Mapping[str, Any],
    tps: Sequence[TopicPartition],
    commits: Mapping[TopicPartition, OffsetAndMetadata],
) -> dict[TopicPartition, int]:
    """Return ends of the logs.

    Some brokers name one that is too low: below the group's offset, a fetch from there decides.
    """
    ends: dict[TopicPartition, int] = await consumer.end_offsets(tps) if tps else {}
    for tp, commit in commits.items():
        if commit.offset > ends[tp] and not await _is_beyond(client, tp, commit.offset):
            ends[tp] = commit.offset
    return ends


async def _is_beyond(client: Mapping[str, Any], tp: TopicPartition, offset: int) -> bool:
    async with reader(client, tp) as plain:
        plain.seek(tp, offset)
        try:
            await plain.getmany(tp, timeout_ms=FETCH_MS)
        except OffsetOutOfRangeError:
            return True
    return False
