"""Two micro-batches under way.

What the second may do while the first is written, by steps that write down what they are asked.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.pipeline.fakes import FixedOwnership
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline import pipeline as agents
from worker.pipeline.gate import Gate
from worker.pipeline.measures import Measures
from worker.pipeline.ownership import Ownership
from worker.pipeline.past import Past
from worker.pipeline.pipeline import Pipeline
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Shopper, Values, Work
from worker.runtime.consumer import LedgerConsumer
from worker.runtime.delivery import NotOurs
from worker.runtime.ledger import Ledger
from worker.runtime.stream import LedgerStream, MicroBatch
from worker.settings import Topics

TP = ("purchases", 0)


def batch(name: str, epoch: int = 1) -> MicroBatch:
    return MicroBatch(epoch, {(name, 0): []}, {(name, 0): 1}, 0.0)


def name_of(batch: MicroBatch) -> str:
    return next((topic for topic, _ in batch.records), "turn")


class Stream:
    """Yields batches as soon as they are asked for."""

    def __init__(self, *batches: MicroBatch) -> None:
        self.batches = batches

    async def micro_batches(self, *_: Any) -> AsyncIterator[MicroBatch]:
        for one in self.batches:
            yield one

    def finishing(self, batch: MicroBatch) -> AbstractContextManager[None]:
        return nullcontext()


class Steps:
    """All steps of a pipeline.

    Making a batch ready takes one turn of the loop. It is sent after four, as aiokafka's, and
    written after twelve.
    """

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self.story: list[tuple[str, str]] = []
        self.unstored: dict[str, Values] = {}
        self.recounted: list[Iterable[int]] = []
        self.writing = asyncio.Lock()
        self.fails, self.error = fails, error or RuntimeError("disk full")

    def decode(self, batch: MicroBatch) -> Work:
        self.story.append(("ready", name_of(batch)))
        return Work(values={0: {b"ann": name_of(batch).encode()}})

    async def promote(self, shoppers: list[Shopper]) -> None:
        """There are none."""

    def fold(self, work: Work, unstored: Values) -> None:
        self.unstored[work.values[0][b"ann"].decode()] = dict(unstored)

    async def score(self, shoppers: list[Shopper]) -> None:
        await asyncio.sleep(0)

    def encode(self, work: Work) -> None:
        """There are no rows."""

    async def publish(self, batch: MicroBatch, rows: Any) -> dict[Any, Any]:
        self.story.append(("write", name_of(batch)))
        for turn in range(12):
            await asyncio.sleep(0)
            if turn == 3:
                self.story.append(("on its way", name_of(batch)))
        if name_of(batch) == self.fails:
            raise self.error
        return {}

    async def store(self, batch: MicroBatch, values: Values, appended: Any) -> None:
        self.story.append(("written", name_of(batch)))

    async def take(self) -> Work:
        self.story.append(("ready", "turn"))
        return Work(values={0: {b"ann": b"turn"}}, is_turn=True)

    async def refresh(self, work: Work) -> None:
        await asyncio.sleep(0)

    async def recount(self, partitions: Iterable[int]) -> None:
        self.recounted.append(partitions)


def pipeline(steps: Any, ownership: Ownership | None = None) -> Pipeline:
    """A pipeline of these steps, which may answer."""
    health, past = Health(), Past()
    gate = Gate(health, answers_without_products=False)
    gate.catalogue_is_read(available=1)
    return Pipeline(
        batch_seconds=0.25,
        gate=gate,
        ownership=ownership or FixedOwnership(),
        decoder=steps,
        folder=steps,
        scoring=steps,
        publisher=steps,
        states=steps,
        popularity=steps,
        time=StreamTime(),
        refreshing=steps,
        measures=Measures(Topics(), "changelog", metrics.create(), health, past),
        health=health,
    )


def play(*batches: MicroBatch, fails: str = "") -> Steps:
    """What a pipeline does with batches."""
    steps, stream = Steps(fails), Stream(*batches)
    asyncio.run(pipeline(steps).work_on(stream))  # type: ignore[arg-type]
    return steps


def test_the_next_batch_is_made_ready_while_one_is_written_but_only_written_after_it() -> None:
    steps = play(batch("a"), batch("b"), batch("c"))
    at = {line: number for number, line in enumerate(steps.story)}
    for before, after in (("a", "b"), ("b", "c")):
        assert (
            at["on its way", before]
            < at["ready", after]
            < at["written", before]
            < at["write", after]
        )
    assert at["ready", "c"] > at["written", "a"], "never three at a time"
    assert steps.unstored == {"a": {}, "b": {0: {b"ann": b"a"}}, "c": {0: {b"ann": b"b"}}}


def test_after_a_rebalance_nothing_of_the_batch_before_is_built_upon() -> None:
    steps = play(batch("a", epoch=1), batch("b", epoch=2))
    assert steps.story.index(("written", "a")) < steps.story.index(("ready", "b"))
    assert steps.unstored["b"] == {}


def test_a_turn_goes_the_way_of_a_batch_upon_states_that_are_not_stored_yet() -> None:
    turn = MicroBatch(1, {}, {}, 0.0)
    steps = play(batch("a"), turn, batch("b"))
    at = {line: number for number, line in enumerate(steps.story)}
    assert at["on its way", "a"] < at["ready", "turn"] < at["written", "a"] < at["write", "turn"]
    assert steps.unstored["turn"] == {0: {b"ann": b"a"}}
    assert steps.unstored["b"] == {0: {b"ann": b"turn"}}


def test_a_batch_that_fails_ends_it_all_at_once() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        play(batch("a"), batch("b"), batch("c"), fails="a")
    assert str(raised.value.exceptions[0]) == "disk full"


def test_a_failure_ends_the_process_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[BaseException] = []
    monkeypatch.setattr(agents, "exit_now", lambda what, error: ended.append(error))
    monkeypatch.setattr(agents.collector, "freeze_heap", lambda: None)
    made, stream = pipeline(Steps(fails="a")), Stream(batch("a"))
    asyncio.run(made.run(stream))  # type: ignore[arg-type]
    assert [str(error) for error in ended] == ["disk full"] and made.health.agent_running is False


@pytest.mark.parametrize("epoch", [1, 2])
def test_what_a_rebalance_took_is_counted_anew_and_not_stored(epoch: int) -> None:
    steps, ownership = Steps(fails="a", error=NotOurs()), FixedOwnership(epoch)
    ownership.take_over(frozenset({3}))
    made, stream = pipeline(steps, ownership), Stream()
    writing = made.write(stream, batch("a", epoch=1), Work())  # type: ignore[arg-type]
    if epoch == 1:  # nobody took it: then something is wrong
        with pytest.raises(NotOurs):
            asyncio.run(writing)
    else:
        asyncio.run(writing)
    assert steps.recounted == [frozenset({3})] * (epoch == 2) and not made.health.stages
    assert ("written", "a") not in steps.story


def test_nothing_is_in_hand_only_when_both_batches_are_finished() -> None:
    consumer: Any = LedgerConsumer.__new__(LedgerConsumer)
    consumer.ledger, consumer.idle, consumer._in_hand = Ledger(), asyncio.Event(), 0
    consumer.ledger.assign({TP: 7})
    consumer.ledger.admit(TP, 7, 8)
    stream: Any = SimpleNamespace(app=SimpleNamespace(consumer=consumer))
    first = MicroBatch(consumer.ledger.epoch, {}, {TP: 9}, 0.0)
    consumer.take_in_hand()
    consumer.take_in_hand()
    with pytest.raises(OSError), LedgerStream.finishing(stream, first):
        raise OSError
    assert not consumer.idle.is_set() and consumer.ledger.committable() == {}
    with LedgerStream.finishing(stream, first):
        pass
    assert consumer.idle.is_set() and consumer.ledger.committable() == {TP: 9}
