"""Micro-batches of all that waits, cut when the agent is ready for one.

Cut at the fetch instead, a steady load of one or two records a fetch pays a round trip of acknowledgements each and
queues for seconds at 1,000 events/s; cut here, the batch size follows the load by itself.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from faust.streams import Stream

from worker.runtime.consumer import LedgerConsumer
from worker.runtime.ledger import TopicPartition, Verdict, tuple_of

MAX_BATCH = 4000
"""Records per micro-batch: bounds memory and the time until the first of them is answered."""


async def _at_once() -> None:
    """Nothing to wait for."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Records that are next in order and without holes, per partition, and the ledger's epoch they belong to."""

    epoch: int
    records: dict[TopicPartition, list[Any]]
    ends: dict[TopicPartition, int]
    """Offsets to go on from afterwards."""
    arrived: float
    """When its first record arrived, monotonic seconds."""


class LedgerStream(Stream):  # type: ignore[misc]
    """A Faust stream that yields micro-batches."""

    async def micro_batches(self, allowed: Callable[[], Awaitable[Any]] = _at_once) -> AsyncIterator[MicroBatch]:
        """Yield batches, each to be `finishing`; the next may be asked for before.

        `allowed` is awaited before one is cut. Should partitions change meanwhile, the ledger tells what is still ours.
        """
        self.enable_acks = False
        consumer: LedgerConsumer = self.app.consumer
        async for _ in self:
            consumer.holds_back = True
            await allowed()
            consumer.holds_back = False
            batch, gaps = self._admit(consumer, self._take(self.current_event))
            for tp in gaps:
                await self._fetch_again(consumer, tp, batch.epoch)
            if not batch.records:
                continue
            consumer.take_in_hand()
            yield batch

    @contextmanager
    def finishing(self, batch: MicroBatch) -> Iterator[None]:
        """A batch counts as finished when the block ends without an error, if its epoch is still valid."""
        consumer: LedgerConsumer = self.app.consumer
        try:
            yield
            consumer.ledger.finish(batch.epoch, batch.ends)
        finally:
            consumer.let_go()

    def _take(self, first: Any) -> list[Any]:
        """The event in hand and all that waits behind it, up to `MAX_BATCH` records."""
        queue, generation = self.channel.queue, first.message.generation_id
        events, count = [first], len(first.value.records)
        while count < MAX_BATCH and not queue.empty() and not queue._errors:
            event = queue.get_nowait()
            if event.message.generation_id == generation and self.app.flow_control.is_active():
                events.append(event)
                count += len(event.value.records)
        return events

    @staticmethod
    def _admit(consumer: LedgerConsumer, events: list[Any]) -> tuple[MicroBatch, set[TopicPartition]]:
        """A batch of what is next, and the partitions where something is missing, which are sought back.

        Awaits nothing: no rebalance can come in between.
        """
        ledger = consumer.ledger
        batch = MicroBatch(ledger.epoch, {}, {}, events[0].value.arrived)
        gaps: set[TopicPartition] = set()
        for event in events:
            tp, fetched = tuple_of(event.message.tp), event.value
            expected = ledger.expected(tp)
            if tp in gaps or expected is None:
                continue
            verdict = ledger.admit(tp, fetched.start, fetched.end - 1)
            if verdict is Verdict.TAKE:
                batch.records.setdefault(tp, []).extend(r for r in fetched.records if r.offset >= expected)
                batch.ends[tp] = fetched.end
            elif verdict is Verdict.SEEK_BACK:
                gaps.add(tp)
                consumer.seek_back(tp, expected)
        return batch, gaps

    async def _fetch_again(self, consumer: LedgerConsumer, tp: TopicPartition, epoch: int) -> None:
        """What is missing was sought; see whether the broker has deleted it meanwhile."""
        self.app.on_gap(tp[0])
        begins = await consumer.beginning_of(tp)
        if begins is None or consumer.ledger.epoch != epoch:
            return
        if gone := consumer.ledger.begins(tp, begins):
            self.log.error("%s: %d offsets before %d are gone from the broker", tp, gone, begins)
            self.app.on_deleted(tp[0], gone)
