"""Micro-batches of all that waits, cut when the agent is ready for one.

Cut at the fetch instead, a steady load of one or two records a fetch pays a round trip of acknowledgements each and
queues for seconds at 1,000 events/s; cut here, the batch size follows the load by itself.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from faust.streams import Stream
from faust.transport.drivers.aiokafka import ensure_aiokafka_TP

from worker.runtime.consumer import LedgerConsumer
from worker.runtime.ledger import TopicPartition, Verdict, tuple_of

MAX_BATCH = 4000
"""Records per micro-batch: bounds memory and the time until the first of them is answered."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Records that are next in order and without holes, per partition, and the ledger's epoch they belong to."""

    epoch: int
    records: dict[TopicPartition, list[Any]]
    arrived: float
    """When its first record arrived, monotonic seconds."""


class LedgerStream(Stream):  # type: ignore[misc]
    """A Faust stream that yields micro-batches."""

    async def micro_batches(self, on_gap: Callable[[str], None]) -> AsyncIterator[MicroBatch]:
        """Yield batches; one counts as finished when the body comes back for the next, if its epoch is still valid.

        `on_gap` is told the topic whenever offsets were missing and we sought back.
        """
        self.enable_acks = False
        consumer: LedgerConsumer = self.app.consumer
        async for _ in self:
            batch = self._admit(consumer, self._take(self.current_event), on_gap)
            if not batch.records:
                continue
            consumer.idle.clear()
            try:
                yield batch
                consumer.ledger.finish(batch.epoch, batch.records)
            finally:
                consumer.idle.set()

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

    def _admit(self, consumer: LedgerConsumer, events: list[Any], on_gap: Callable[[str], None]) -> MicroBatch:
        ledger = consumer.ledger
        batch = MicroBatch(ledger.epoch, {}, events[0].value.arrived)
        sought: set[TopicPartition] = set()
        for event in events:
            tp, records = tuple_of(event.message.tp), event.value.records
            expected = ledger.expected(tp)
            if tp in sought or expected is None:
                continue
            verdict = ledger.admit(tp, records[0].offset, records[-1].offset)
            if verdict is Verdict.TAKE:
                batch.records.setdefault(tp, []).extend(r for r in records if r.offset >= expected)
            elif verdict is Verdict.SEEK_BACK:
                sought.add(tp)
                on_gap(tp[0])
                consumer._thread.seek(ensure_aiokafka_TP(tp), expected)
        return batch
