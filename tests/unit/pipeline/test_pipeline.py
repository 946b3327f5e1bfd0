"""Two micro-batches under way.

What the second may do while the first is written, by small fakes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import UserState
from worker.model_thread import ModelThread
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline import pipeline as agents
from worker.pipeline.recommender import Ranked
from worker.pipeline.work import Shopper, Work
from worker.runtime.consumer import LedgerConsumer
from worker.runtime.delivery import NotOurs
from worker.runtime.ledger import Ledger
from worker.runtime.stream import LedgerStream, MicroBatch

TP = ("purchases", 0)
Story = list[tuple[str, str]]


def batch(name: str, epoch: int = 1) -> MicroBatch:
    return MicroBatch(epoch, {(name, 0): []}, {(name, 0): 1}, 0.0)


def name_of(batch: MicroBatch) -> str:
    ((topic, _),) = batch.records
    return topic


class Stream:
    """Yields batches as soon as they are asked for."""

    def __init__(self, *batches: MicroBatch) -> None:
        self.batches = batches

    async def micro_batches(self, *_: Any) -> AsyncIterator[MicroBatch]:
        for one in self.batches:
            yield one


def play(
    monkeypatch: pytest.MonkeyPatch, *batches: MicroBatch, fails: str = ""
) -> tuple[Story, dict[str, Any]]:
    """What `work_on` does with batches that are sent after four turns of the loop, as aiokafka's.

    They are written after twelve turns; making them ready takes one.
    """
    story: Story = []
    unstored: dict[str, Any] = {}

    async def make_ready(_: Any, batch: MicroBatch, given: Any) -> SimpleNamespace:
        name = name_of(batch)
        story.append(("ready", name))
        unstored[name] = dict(given)
        await asyncio.sleep(0)
        return SimpleNamespace(values={0: {b"ann": name.encode()}})

    async def write(_: Any, stream: Any, batch: MicroBatch, work: Any) -> None:
        story.append(("write", name_of(batch)))
        for turn in range(12):
            await asyncio.sleep(0)
            if turn == 3:
                story.append(("on its way", name_of(batch)))
        if name_of(batch) == fails:
            raise RuntimeError("disk full")
        story.append(("written", name_of(batch)))

    monkeypatch.setattr(agents, "make_ready", make_ready)
    monkeypatch.setattr(agents, "write", write)
    components: Any = SimpleNamespace(
        may_answer=asyncio.Event(),
        settings=SimpleNamespace(recommendations=SimpleNamespace(batch_seconds=0.25)),
    )
    stream: Any = Stream(*batches)
    asyncio.run(agents.work_on(components, stream))
    return story, unstored


def test_the_next_batch_is_made_ready_while_one_is_written_but_only_written_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story, unstored = play(monkeypatch, batch("a"), batch("b"), batch("c"))
    at = {said: number for number, said in enumerate(story)}
    for before, after in (("a", "b"), ("b", "c")):
        assert (
            at["on its way", before]
            < at["ready", after]
            < at["written", before]
            < at["write", after]
        )
    assert at["ready", "c"] > at["written", "a"], "never three at a time"
    assert unstored == {"a": {}, "b": {0: {b"ann": b"a"}}, "c": {0: {b"ann": b"b"}}}


def test_after_a_rebalance_nothing_of_the_batch_before_is_built_upon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story, unstored = play(monkeypatch, batch("a", epoch=1), batch("b", epoch=2))
    assert story.index(("written", "a")) < story.index(("ready", "b"))
    assert unstored["b"] == {}


def test_a_batch_that_fails_ends_it_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        play(monkeypatch, batch("a"), batch("b"), batch("c"), fails="a")
    assert str(raised.value.exceptions[0]) == "disk full"


def test_a_failure_is_told_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    started: list[Callable[..., Any]] = []
    ready = asyncio.Event()
    ready.set()
    app = SimpleNamespace(read=lambda topics, name, agent: started.append(agent))
    health = SimpleNamespace(agent_running=None)
    components: Any = SimpleNamespace(app=app, families={}, may_answer=ready, health=health)
    agents.attach(components)
    monkeypatch.setattr(agents, "exit_now", lambda what, error: told.append(error))
    monkeypatch.setattr(agents.collector, "spare", lambda: None)

    async def fails(*_: Any) -> None:
        async with asyncio.TaskGroup():
            raise OSError("disk full")

    monkeypatch.setattr(agents, "work_on", fails)
    asyncio.run(started[0](Stream()))
    assert [str(error) for error in told] == ["disk full"] and health.agent_running is False


def test_a_shopper_is_folded_into_the_state_that_is_not_stored_yet() -> None:
    ann, bob = UserState(), UserState()
    ann.reviews, bob.reviews = 3, 5
    asked: list[list[bytes]] = []

    def get_many(partition: int, keys: list[bytes]) -> list[bytes | None]:
        asked.append(keys)
        return [user_state.encode(bob) if key == b"bob" else None for key in keys]

    components: Any = SimpleNamespace(table=SimpleNamespace(get_many=get_many))
    work = Work({0: {key: Shopper(0, key) for key in (b"ann", b"bob", b"cid")}})
    agents.fold_batch(
        components, work, {0: {b"ann": user_state.encode(ann)}, 1: {b"bob": b"another's"}}
    )
    assert [shopper.state.reviews for shopper in work.shoppers] == [3, 5, 0]
    assert asked == [[b"bob", b"cid"]]


@pytest.mark.parametrize("known", [True, False])
def test_purchases_get_the_promotions_that_their_products_have(known: bool) -> None:
    recommender: Any = SimpleNamespace(
        catalogue=SimpleNamespace(promotions=known),
        with_promotions=lambda events: [(event, "promoted") for event in events],
    )
    ann, bob = Shopper(0, b"ann", ["bread", "milk"]), Shopper(1, b"bob", ["tea"])  # type: ignore[list-item]
    components: Any = SimpleNamespace(recommender=recommender, model=ModelThread())
    asyncio.run(agents.promote(components, [ann, bob]))
    said = (
        [("bread", "promoted"), ("milk", "promoted"), ("tea", "promoted")]
        if known
        else ["bread", "milk", "tea"]
    )
    assert [*ann.events, *bob.events] == said


@pytest.mark.parametrize("active_at", [0, 1_500_000_000, 1_700_000_000])
def test_a_list_is_as_of_the_newest_event_whether_it_counts_or_not(active_at: int) -> None:
    asked: list[int] = []

    def answer(counted: Any, requests: Any) -> list[Ranked]:
        asked.extend(request.now for request in requests)
        return [Ranked([], []) for _ in requests]

    async def encode(texts: Any) -> None:
        """Has nothing to read."""

    components: Any = SimpleNamespace(
        recommender=SimpleNamespace(answer=answer, newly_not_finite=lambda: 0),
        model=ModelThread(), encode=encode, is_live=lambda time: True, metrics=metrics.create(),
    )  # fmt: skip
    none_bought = Interaction(Position(0, 0, 1), Kind.NOTHING, 7, 1_600_000_000)
    state = UserState(active_at=active_at)
    ann = Shopper(0, b"ann", [none_bought], folded=fold_into(state, [none_bought]))
    asyncio.run(agents.score(components, [ann]))
    assert asked == [max(active_at, 1_600_000_000)]


@pytest.mark.parametrize("epoch", [1, 2])
def test_what_a_rebalance_took_is_counted_anew_and_not_stored(
    monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    recounted: list[Any] = []

    async def taken(*_: Any) -> None:
        raise NotOurs

    async def recount(_: Any, partitions: Any) -> None:
        recounted.append(partitions)

    monkeypatch.setattr(agents.publishing, "publish", taken)
    monkeypatch.setattr(agents.popularity, "recount", recount)
    made = metrics.create([], [], [])
    components: Any = SimpleNamespace(
        writing=asyncio.Lock(), metrics=made, health=Health(), epoch=epoch, owned=frozenset({3})
    )
    stream: Any = SimpleNamespace(finishing=lambda batch: nullcontext())
    writing = agents.write(components, stream, batch("a", epoch=1), Work())
    if epoch == 1:  # nobody took it: then something is wrong
        with pytest.raises(NotOurs):
            asyncio.run(writing)
    else:
        asyncio.run(writing)
    assert recounted == [frozenset({3})] * (epoch == 2) and not components.health.stages


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
