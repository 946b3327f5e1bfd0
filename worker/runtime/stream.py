"""Micro-batches of all that waits, cut when the agent is ready for one.

Were they cut at the fetch, a steady load of one or two records a fetch would pay a round trip of
acknowledgements for each, and queue for seconds at 1,000 events/s. Cut here, the size of a batch
follows the load by itself. Between batches there are turns: work that no record asks for, while
none waits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol

from faust.streams import Stream

from worker.kafka.batches import Record
from worker.runtime.consumer import LedgerConsumer
from worker.runtime.ledger import TopicPartition, Verdict, tuple_of
from worker.runtime.records import Fetched

MAX_BATCH = 4000
"""Records per micro-batch: bounds memory."""
MIN_BATCH = 32
"""Records that are taken however long the last ones took: they share a batch's fixed cost."""
REMEMBERED = 2
"""Micro-batches that the next is measured by: an untypical one is soon forgotten."""


def allowance(took: Iterable[tuple[int, float]], seconds: float) -> int:
    """Return how many records a micro-batch may take, to last about so many seconds.

    The last ones decide, (records, seconds) each: the slowest of them counts, since a record that
    is only folded costs a hundredth of one that is answered with a list.
    """
    slowest = max((spent / records for records, spent in took), default=seconds / MIN_BATCH)
    return int(min(max(seconds / max(slowest, 1e-9), MIN_BATCH), MAX_BATCH))


async def _at_once() -> None:
    """Return at once: there is nothing to wait for."""


class Turns(Protocol):
    """When it is time for a turn: a micro-batch without records."""

    def seconds(self) -> float:
        """How long to wait for records before asking again; 0: a turn now, if none waits."""
        ...

    def presses(self) -> bool:
        """Whether it is time for a turn although records wait."""
        ...

    def took(self, seconds: float) -> None:
        """A turn was taken, and took so long."""


class _NoTurns:
    """There are none."""

    def seconds(self) -> float:
        return 60.0

    def presses(self) -> bool:
        return False

    def took(self, seconds: float) -> None:
        """Never."""


NO_TURNS: Turns = _NoTurns()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Records that are next in order and without holes, per partition, and the ledger's epoch.

    Without any it is a turn.
    """

    epoch: int
    records: dict[TopicPartition, list[Record]]
    ends: dict[TopicPartition, int]
    """Offsets to go on from afterwards."""
    arrived: float
    """When its first record arrived, monotonic seconds."""


class _Held(NamedTuple):
    """A part of an event: a message and some of the records that came with it."""

    message: Any
    value: Fetched


class LedgerStream(Stream):  # type: ignore[misc]
    """A Faust stream that yields micro-batches."""

    _rest: _Held | None = None
    """An event, or what is left of one, of which records are yet to be taken."""

    async def micro_batches(
        self,
        seconds: float,
        allowed: Callable[[], Awaitable[Any]] = _at_once,
        turns: Turns = NO_TURNS,
    ) -> AsyncIterator[MicroBatch]:
        """Yield batches of about so many seconds of work, each to be `finishing`.

        The next may be asked for before.

        `allowed` is awaited before one is cut. Should partitions change meanwhile, the ledger
        decides what is still ours. While no record waits there are `turns`.
        """
        self.enable_acks = False
        consumer: LedgerConsumer = self.app.consumer
        took = deque[tuple[int, float]](maxlen=REMEMBERED)
        async with aclosing(self._events(turns)) as events_and_pauses:
            async for event in events_and_pauses:
                if event is None:
                    # between a revocation and the next assignment nothing is ours
                    if consumer.ledger.positions():
                        consumer.take_in_hand()
                        began, epoch = monotonic(), consumer.ledger.epoch
                        yield MicroBatch(epoch, {}, {}, began)
                        turns.took(monotonic() - began)
                        self._rest = self._rest if consumer.ledger.epoch == epoch else None
                    continue
                consumer.holds_back = True
                await allowed()
                events, self._rest = self._take(event, allowance(took, seconds))
                consumer.holds_back = self._rest is not None
                batch, gaps = self._admit(consumer, events)
                for tp in gaps:
                    await self._fetch_again(consumer, tp, batch.epoch)
                if batch.records:
                    consumer.take_in_hand()
                    began = monotonic()
                    yield batch
                    took.append((sum(map(len, batch.records.values())), monotonic() - began))
                if self._rest and (
                    consumer.ledger.epoch != batch.epoch or tuple_of(self._rest.message.tp) in gaps
                ):
                    self._rest = None  # it is fetched again
                consumer.holds_back = self._rest is not None

    async def _events(self, turns: Turns) -> AsyncGenerator[Any, None]:
        """Yield events, the rest of one before the next, and None when it is time for a turn."""
        async with aclosing(self._arrivals(turns)) as arrivals:
            async for arrived in arrivals:
                if arrived is None:
                    yield None
                self._rest = arrived
                while self._rest is not None:
                    if turns.presses():
                        yield None
                    if (event := self._rest) is not None:
                        self._rest = None
                        yield event

    async def _arrivals(self, turns: Turns) -> AsyncGenerator[Any, None]:
        """Yield events as they come; None where none does, and it is time for a turn."""
        records, coming = aiter(self), None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(records))
                # what waits takes some steps of the loop to come: no turn before it
                waits = not self.channel.queue.empty()
                if (await asyncio.wait({coming}, timeout=None if waits else turns.seconds()))[0]:
                    await coming
                    coming = None
                    yield self.current_event
                elif turns.seconds() <= 0:
                    yield None
        except StopAsyncIteration:
            coming = None
        finally:
            if coming:
                coming.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await coming

    @contextmanager
    def finishing(self, batch: MicroBatch) -> Iterator[None]:
        """Count a batch as finished when the block ends without an error and in the same epoch."""
        consumer: LedgerConsumer = self.app.consumer
        try:
            yield
            consumer.ledger.finish(batch.epoch, batch.ends)
        finally:
            consumer.let_go()

    def _take(self, first: Any, most: int) -> tuple[list[Any], "_Held | None"]:
        """Take the event in hand and up to so many records that wait behind it.

        The rest of the last event is returned, too.
        """
        queue, generation = self.channel.queue, first.message.generation_id
        events, count = [first], len(first.value.records)
        while count < most and not queue.empty() and not queue._errors:
            event = queue.get_nowait()
            if event.message.generation_id == generation and self.app.flow_control.is_active():
                events.append(event)
                count += len(event.value.records)
        if count <= most:
            return events, None
        last = events.pop()
        head, rest = last.value.cut(len(last.value.records) - (count - most))
        return [*events, _Held(last.message, head)], _Held(last.message, rest)

    @staticmethod
    def _admit(
        consumer: LedgerConsumer, events: list[Any]
    ) -> tuple[MicroBatch, set[TopicPartition]]:
        """Cut a batch of what is next, and find the partitions with a gap, which are sought back.

        Nothing is awaited: no rebalance can come in between.
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
                batch.records.setdefault(tp, []).extend(
                    r for r in fetched.records if r.offset >= expected
                )
                batch.ends[tp] = fetched.end
            elif verdict is Verdict.SEEK_BACK:
                gaps.add(tp)
                consumer.seek_back(tp, expected)
        return batch, gaps

    async def _fetch_again(self, consumer: LedgerConsumer, tp: TopicPartition, epoch: int) -> None:
        """Fetch what is missing again, and see whether the broker has deleted it meanwhile."""
        self.app.listener.on_gap(tp[0])
        begins = await consumer.beginning_of(tp)
        if begins is None or consumer.ledger.epoch != epoch:
            return
        if gone := consumer.ledger.begins(tp, begins):
            self.log.error("%s: %d offsets before %d are gone from the broker", tp, gone, begins)
            self.app.listener.on_deleted(tp[0], gone)
