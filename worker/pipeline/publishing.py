"""What a micro-batch publishes: states to the changelog, lists, dead letters."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from aiokafka.structs import OffsetAndMetadata

from pprm.state import user_state
from worker.pipeline import codec, letters
from worker.pipeline.codec import Answer
from worker.pipeline.model import Model
from worker.pipeline.ownership import Ownership
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.work import Shopper, Work, unit_of
from worker.runtime import changelog
from worker.runtime.delivery import (
    DEFAULT_LIMIT,
    Appends,
    Delivery,
    NotOurs,
    Offsets,
    Ours,
    Row,
    Rows,
)
from worker.runtime.ledger import TopicPartition
from worker.runtime.stream import MicroBatch
from worker.settings import Topics


class Publisher:
    """Makes the rows of a micro-batch, and has them delivered."""

    def __init__(
        self,
        topics: Topics,
        changelog: str,
        families: Mapping[str, str],
        delivery: Delivery,
        ownership: Ownership,
        seen: SeenTopics,
        model: Model,
    ) -> None:
        """`families` are those of the input topics, by topic."""
        self._lists, self._dead = topics.name("recommendations"), topics.name("dead_letters")
        self._changelog, self._families, self._delivery = changelog, families, delivery
        self._ownership, self._seen, self._model = ownership, seen, model

    def encode(self, work: Work) -> None:
        """Make `work.values` and `work.rows`.

        Rows are states, lists and dead letters, by unit of work and partition.
        """
        now, stamp = datetime.now(UTC), changelog.stamp(self._ownership.generation)
        log, limit = self._changelog, self._delivery.limits.get(self._dead, DEFAULT_LIMIT)
        for shopper in work.shoppers:
            unit, partition = unit_of("users", shopper.partition), shopper.partition
            value = work.values[partition][shopper.key] = user_state.encode(shopper.state)
            work.append(unit, (log, partition), Row(shopper.key, value, stamp))
            if (row := self._list_row(shopper, now)) is not None:
                work.append(unit, (self._lists, partition), row)
            if shopper.damaged is not None:
                letter = letters.damaged_state(shopper.key, shopper.damaged, log, partition, limit)
                work.append(unit, self._dead_letters_of(partition), letter)
        for partition, record, invalid in work.refused:
            unit = unit_of(self._families[record.topic], partition)
            letter = letters.dead_letter(record, invalid, limit)
            work.append(unit, self._dead_letters_of(partition), letter)

    def _dead_letters_of(self, partition: int) -> TopicPartition:
        return self._dead, partition % self._seen.partitions(self._dead)

    def _list_row(self, shopper: Shopper, now: datetime) -> Row | None:
        if shopper.withdraws:
            return Row(shopper.key, None)
        if shopper.ranked is None or not shopper.is_sent:
            return None
        answer = Answer(
            shopper.key.decode(),
            shopper.state.version,
            shopper.trigger,
            self._model.recommender.model,
            shopper.ranked.items,
            () if shopper.unasked else shopper.last[0].headers,
        )
        return Row(*codec.encode_recommendation(answer, now))

    async def publish(self, batch: MicroBatch, rows: Mapping[str, Rows]) -> Appends:
        """Send a micro-batch's rows and await all.

        Returns what the changelog's partitions took.

        Raises:
            NotOurs: a rebalance took the partitions meanwhile: nothing of the batch counts.
        """
        offsets = defaultdict[str, dict[TopicPartition, OffsetAndMetadata]](dict)
        for (topic, partition), end in batch.ends.items():
            commit = self._ownership.commit_of((topic, partition), end)
            offsets[unit_of(self._families[topic], partition)][topic, partition] = commit

        def ours() -> bool:
            return self._ownership.epoch == batch.epoch

        if not batch.records and not self._delivery.commits_offsets:
            # a state that says that its list was made must not be kept without the list: nobody
            # asks for it again
            lists, rows = _parted(rows, self._lists)
            await self._write(lists, {}, ours)
        appended = await self._write(rows, offsets, ours)
        return {tp: appends for tp, appends in appended.items() if tp[0] == self._changelog}

    async def _write(
        self, rows: Mapping[str, Rows], offsets: Mapping[str, Offsets], ours: Ours
    ) -> Appends:
        """Send rows and offsets by unit, and await all."""
        units, write = rows.keys() | offsets.keys(), self._delivery.write
        if not ours():
            raise NotOurs
        written = await asyncio.gather(
            *(write(unit, rows.get(unit, {}), offsets.get(unit, {}), ours) for unit in units),
            return_exceptions=True,
        )
        for result in written:  # only now: none may still be at work when the next batch is written
            if isinstance(result, BaseException):
                raise result
        if not ours():
            raise NotOurs
        return {
            tp: appends
            for result in written
            if isinstance(result, dict)
            for tp, appends in result.items()
        }


def _parted(rows: Mapping[str, Rows], topic: str) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """The rows of one topic and those of others, of the units that have any."""
    its: dict[str, dict[TopicPartition, Sequence[Row]]] = defaultdict(dict)
    others: dict[str, dict[TopicPartition, Sequence[Row]]] = defaultdict(dict)
    for unit, of_unit in rows.items():
        for tp, mine in of_unit.items():
            (its if tp[0] == topic else others)[unit][tp] = mine
    return {**its}, {**others}
