"""Turns between micro-batches: while nothing waits, and where they press although it does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from tests.unit.runtime.test_order import TP, stream_of
from worker.runtime.records import Fetched
from worker.runtime.stream import MicroBatch


class Wanted:
    """So many turns, whenever there is time; they press while `urgent`."""

    def __init__(self, count: int, urgent: bool = False) -> None:
        self.left, self.urgent = count, urgent
        self.taken: list[float] = []

    def seconds(self) -> float:
        return 0.0 if self.left else 0.01

    def presses(self) -> bool:
        return self.urgent and self.left > 0

    def took(self, seconds: float) -> None:
        self.left -= 1
        self.taken.append(seconds)


def arriving(sizes: list[int], *, apart: bool = True) -> tuple[Any, Callable[[], None]]:
    """A stream to which ranges of so many records come, each when the function is called.

    Or all at once, where they are not apart.
    """
    stream, _ = stream_of([], beginning=0)
    consumer, queue = stream.app.consumer, stream.channel.queue
    consumer.ledger.assign({TP: 0})
    queue._errors = ()
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    waiting = [
        SimpleNamespace(
            message=SimpleNamespace(tp=TP, generation_id=1),
            value=Fetched(
                start, start + size,
                [SimpleNamespace(offset=at) for at in range(start, start + size)], 0.0
            ),
        )
        for start, size in zip(starts, sizes, strict=True)
    ]  # fmt: skip

    class Reading(type(stream)):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[Any]:
            while waiting or not queue.empty() or (apart and not consumer.ledger.expected(TP)):
                self.current_event = None
                self.current_event = await queue.get()
                yield None

    stream.__class__ = Reading
    if not apart:
        while waiting:
            queue.put_nowait(waiting.pop(0))
    return stream, lambda: queue.put_nowait(waiting.pop(0)) if waiting else None


def kinds(
    stream: Any,
    turns: Any,
    then: Callable[[MicroBatch], None] = lambda batch: None,
    seconds: float = 60.0,
) -> list[int]:
    """Sizes of the micro-batches, 0 of a turn, until there are no more events."""
    found: list[int] = []

    async def story() -> None:
        async with asyncio.timeout(5):
            async for batch in stream.micro_batches(seconds, turns=turns):
                found.append(len(batch.records.get(TP, ())))
                with stream.finishing(batch):
                    then(batch)

    asyncio.run(story())
    assert stream.app.consumer.idle.is_set()
    return found


def test_a_turn_is_taken_while_no_event_waits_and_the_event_that_comes_meanwhile_is_not_lost() -> (
    None
):
    turns = Wanted(3)
    stream, come = arriving([5, 2])

    def then(batch: MicroBatch) -> None:
        if not batch.records and turns.left in (1, 3):
            come()

    assert kinds(stream, turns, then) == [0, 5, 0, 0, 2]
    assert len(turns.taken) == 3 and stream.app.consumer.ledger.committable() == {TP: 7}


def test_events_come_before_turns() -> None:
    stream, _ = arriving([5, 3], apart=False)
    assert kinds(stream, Wanted(9))[0] == 8


def test_a_turn_that_presses_comes_before_each_micro_batch_and_starves_none() -> None:
    stream, _ = arriving([100, 20], apart=False)
    found = kinds(stream, Wanted(99, urgent=True), seconds=1e-9)
    assert sum(found) == 120 and found == [0, 32] * 3 + [0, 24]


def test_nothing_is_done_while_no_partition_is_ours() -> None:
    turns = Wanted(2)
    stream, come = arriving([1])
    ledger = stream.app.consumer.ledger
    ledger.revoke()

    async def later() -> None:
        await asyncio.sleep(0.05)
        assert not turns.taken
        ledger.assign({TP: 0})
        await asyncio.sleep(0.05)
        come()

    async def story() -> list[int]:
        async with asyncio.timeout(5):
            asked = asyncio.ensure_future(later())
            found = []
            async for batch in stream.micro_batches(1.0, turns=turns):
                found.append(len(batch.records.get(TP, ())))
                with stream.finishing(batch):
                    pass
            await asked
            return found

    assert asyncio.run(story()) == [0, 0, 1]


def test_what_was_in_hand_while_partitions_changed_is_fetched_again() -> None:
    turns = Wanted(1, urgent=True)
    stream, _ = arriving([5], apart=False)
    ledger = stream.app.consumer.ledger

    def then(batch: MicroBatch) -> None:
        ledger.revoke()
        ledger.assign({TP: 0})

    assert kinds(stream, turns, then) == [0] and ledger.expected(TP) == 0


def test_the_stream_is_left_alone_when_it_is_stopped_in_a_pause() -> None:
    closed: list[str] = []
    stream, _ = arriving([1])

    class Reading(type(stream)):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[Any]:
            try:
                await asyncio.sleep(60)
                yield None
            finally:
                closed.append("closed")

    stream.__class__ = Reading

    async def story() -> None:
        async def consume() -> None:
            async for _ in stream.micro_batches(1.0, turns=Wanted(0)):
                raise AssertionError

        task = asyncio.ensure_future(consume())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert closed == ["closed"]

    asyncio.run(story())
