"""What must come before what.

Each order that a promise rests on, with fakes that write down what they are told.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from tests.unit.pipeline.fakes import FixedOwnership
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline.model import Model
from worker.pipeline.ownership import Ownership
from worker.pipeline.publishing import Publisher
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.states import States
from worker.runtime.anchoring import Anchored
from worker.runtime.commits import Anchor, Finding, Note
from worker.runtime.consumer import LedgerConsumer
from worker.runtime.delivery import Append, ExactlyOnce, NotOurs, Row
from worker.runtime.ledger import Ledger
from worker.runtime.records import Fetched
from worker.runtime.recovery import ChangelogRecovery
from worker.runtime.stream import LedgerStream, MicroBatch
from worker.settings import Topics

TP = ("purchases", 0)


class Diary:
    """Any method of it can be called, or awaited, and is written down."""

    def __init__(self, **returns: Any) -> None:
        self.lines: list[str] = []
        self.returns = returns

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any, **_: Any) -> Any:
            self.lines.append(name)
            return self.returns.get(name, _Done())

        return note


class _Done:
    def __await__(self) -> Any:
        yield from ()


def test_after_a_recovery_the_sources_are_sought_before_queues_are_cleared_and_records_flow() -> (
    None
):
    diary = Diary(assignment={TP})
    recovery = object.__new__(ChangelogRecovery)
    recovery.__dict__ |= {
        "app": SimpleNamespace(
            consumer=diary, consumer_generation_id=3,
            flow_control=SimpleNamespace(resume=diary.clear_queues),
            on_rebalance_complete=diary, on_rebalance_end=diary.end, _fetcher=diary,
        ),
        "tables": diary, "completed": asyncio.Event(),
    }  # fmt: skip
    recovery._wait = _just_await  # type: ignore[method-assign]
    recovery._set_recovery_ended = lambda: None  # type: ignore[method-assign]
    recovery._is_changelog_tp = lambda tp: False  # type: ignore[method-assign]
    asyncio.run(recovery.on_recovery_completed(3))
    flow = [
        line
        for line in diary.lines
        if line in ("anchor", "clear_queues", "resume_partitions", "resume_flow")
    ]
    assert flow == ["anchor", "clear_queues", "resume_partitions", "resume_flow"]


async def _just_await(what: Any) -> Any:
    return await what


class Producer(Diary):
    """A transactional producer."""

    def create_batch(self) -> Any:
        rows: list[Any] = []
        return SimpleNamespace(
            append=lambda **row: rows.append(row) or row, record_count=lambda: len(rows)
        )

    async def send_batch(self, *_: Any, **__: Any) -> "asyncio.Future[Any]":
        self.lines.append("send_batch")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=7))
        return future


def test_rows_and_offsets_are_of_one_transaction() -> None:
    async def story() -> list[str]:
        producer = Producer()
        delivery = ExactlyOnce({}, "group")
        delivery._producers["0"] = producer  # type: ignore[assignment]
        appends = await delivery.write(
            "0", {TP: [Row(b"k", b"v")]}, {TP: OffsetAndMetadata(5, "")}, lambda: True
        )
        assert appends == {TP: [Append(7, 1)]}
        return producer.lines

    order = ["begin_transaction", "send_batch", "send_offsets_to_transaction", "commit_transaction"]
    assert asyncio.run(story()) == order


def test_a_transaction_is_aborted_when_a_rebalance_took_its_partition_meanwhile() -> None:
    async def story() -> list[str]:
        producer = Producer()
        producer._txn_manager = SimpleNamespace(transactional_id="group-0")
        delivery = ExactlyOnce({}, "group")
        delivery._producers["0"] = producer  # type: ignore[assignment]
        answers = iter([True, False, False])
        with pytest.raises(NotOurs):
            await delivery.write(
                "0", {TP: [Row(b"k", b"v")]}, {TP: OffsetAndMetadata(5, "")}, lambda: next(answers)
            )
        return producer.lines

    assert asyncio.run(story())[-1] == "abort_transaction"


def publisher(diary: Any, ownership: Ownership) -> Publisher:
    families = {"purchases": "purchases"}
    model = Model(Health())
    return Publisher(Topics(), "changelog", families, diary, ownership, SeenTopics(), model)


def test_a_batch_of_before_a_rebalance_is_not_published() -> None:
    diary, batch = Diary(), MicroBatch(1, {}, {TP: 9}, 0.0)
    with pytest.raises(NotOurs):
        asyncio.run(publisher(diary, FixedOwnership(2)).publish(batch, {}))
    assert diary.lines == []


def test_a_batch_that_a_rebalance_overtook_while_it_was_published_is_not_stored() -> None:
    diary: Any = Diary()
    batch = MicroBatch(1, {}, {TP: 9}, 0.0)
    with pytest.raises(NotOurs):
        asyncio.run(publisher(diary, FixedOwnership(1, 2)).publish(batch, {}))
    assert diary.lines == ["write"]
    states = States(
        "changelog", frozenset({"purchases"}), diary, diary, FixedOwnership(2), {}, metrics.create()
    )
    with pytest.raises(NotOurs):
        asyncio.run(states.store(batch, {}, {}))
    assert diary.lines == ["write"]


def stream_of(ranges: list[tuple[int, int]], beginning: int) -> tuple[Any, Diary]:
    """A stream that is handed ranges of offsets, one at a time.

    Its broker's log begins at `beginning`.
    """
    diary = Diary()

    async def earliest_offsets(*tps: Any) -> dict[Any, int]:
        return {tp: beginning for tp in tps}

    consumer: Any = SimpleNamespace(
        ledger=Ledger(),
        idle=asyncio.Event(),
        _in_hand=0,
        seek_back=diary.seek_back,
        earliest_offsets=earliest_offsets,
    )
    consumer.take_in_hand = lambda: LedgerConsumer.take_in_hand(consumer)
    consumer.let_go = lambda: LedgerConsumer.let_go(consumer)
    consumer.beginning_of = lambda tp: LedgerConsumer.beginning_of(consumer, tp)
    flow = FlowControlEvent(initially_suspended=False)

    class Stream(LedgerStream):
        def __init__(self) -> None:
            self.app = SimpleNamespace(
                consumer=consumer, flow_control=flow,
                listener=SimpleNamespace(
                    on_gap=diary.on_gap,
                    on_deleted=lambda topic, count: diary.lines.append(f"deleted {count}"),
                ),
            )  # fmt: skip
            self.log = SimpleNamespace(error=lambda *said: None)
            self.channel = SimpleNamespace(queue=FlowControlQueue(flow_control=flow))

        async def __aiter__(self) -> AsyncIterator[Any]:
            for first, end in ranges:
                records = [SimpleNamespace(offset=offset) for offset in range(first, end)]
                message = SimpleNamespace(tp=TP, generation_id=1)
                self.current_event = SimpleNamespace(
                    message=message, value=Fetched(first, end, records, 0.0)
                )
                yield None

    consumer.ledger.assign({TP: 5})
    return Stream(), diary


def test_a_batch_may_be_committed_only_after_its_body_and_never_after_another_epoch_began() -> None:
    async def story() -> None:
        stream, _ = stream_of([(5, 8), (8, 9)], beginning=0)
        ledger, seen = stream.app.consumer.ledger, []
        async for batch in stream.micro_batches(1.0):
            with stream.finishing(batch):
                seen.append(ledger.committable())
                if batch.ends[TP] == 9:
                    ledger.revoke()
                    ledger.assign({TP: 8})
        assert seen == [{}, {TP: 8}]
        assert ledger.committable() == {} and ledger.expected(TP) == 8

    asyncio.run(story())


def test_no_batch_is_cut_before_it_is_allowed_and_what_was_lost_meanwhile_is_not_in_it() -> None:
    async def story() -> None:
        stream, _ = stream_of([(5, 8), (8, 9)], beginning=0)
        ledger, allowed, seen = stream.app.consumer.ledger, asyncio.Event(), []

        async def read() -> None:
            async for batch in stream.micro_batches(1.0, allowed.wait):
                seen.append(batch.ends[TP])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        assert not seen
        ledger.revoke()
        ledger.assign({TP: 8})  # somebody else answered the first
        allowed.set()
        await reading
        assert seen == [9]

    asyncio.run(story())


def test_a_gap_is_sought_back_and_only_what_the_broker_deleted_is_given_up() -> None:
    async def story() -> None:
        stream, diary = stream_of([(9, 12), (9, 12), (5, 12)], beginning=0)
        batches = [batch.ends[TP] async for batch in stream.micro_batches(1.0)]
        assert batches == [12] and diary.lines == ["seek_back", "on_gap"] * 2
        stream, diary = stream_of([(9, 12), (9, 12)], beginning=9)
        batches = [batch.ends[TP] async for batch in stream.micro_batches(1.0)]
        assert batches == [12] and diary.lines == ["seek_back", "on_gap", "deleted 4"]

    asyncio.run(story())


def test_what_never_arrived_is_fetched_again_also_when_nothing_comes_after_it() -> None:
    diary = Diary()
    state = SimpleNamespace(position=12, has_valid_position=True)
    queue: list[Any] = []
    consumer = object.__new__(LedgerConsumer)
    consumer.__dict__ |= {
        "ledger": Ledger(), "idle": asyncio.Event(), "_ahead": {}, "log": diary,
        "holds_back": False,
        "app": SimpleNamespace(topics=[SimpleNamespace(queue=SimpleNamespace(_queue=queue))],
        listener=diary),
        "_state_of": lambda tp: state, "seek_back": diary.seek_back,
    }  # fmt: skip
    consumer.ledger.assign({TP: 9})

    def seeks(times: int) -> int:
        for _ in range(times):
            consumer.seek_what_never_arrived()
        found = diary.lines.count("seek_back")
        diary.lines.clear()
        return found

    assert seeks(3) == 0, "a batch is in hand"
    consumer.idle.set()
    queue.append(SimpleNamespace(value=Fetched(9, 12, [None] * 3, 0.0)))
    assert seeks(3) == 0, "it waits"
    queue.clear()
    consumer.holds_back = True
    assert seeks(3) == 0, "the agent may not take it yet"
    consumer.holds_back = False
    assert seeks(1) == 0 and seeks(1) == 1
    consumer.ledger.admit(TP, 9, 11)
    assert seeks(3) == 0, "it came"
    state.position, state.markers = 13, (12, 13)
    assert seeks(3) == 0, "a transaction marker"


def test_partitions_given_away_while_they_are_anchored_stay_given_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the ledger would hold another worker's partitions, and asking for them would fail."""
    consumer = LedgerConsumer.__new__(LedgerConsumer)
    consumer.ledger, consumer.app = (
        Ledger(),
        SimpleNamespace(tables=SimpleNamespace(changelog_topics=set())),
    )
    consumer._thread = SimpleNamespace(_ensure_consumer=lambda: None)
    monkeypatch.setattr(LedgerConsumer, "assignment", lambda _: {TopicPartition(*TP)})
    consumer.app.kafka_client_settings = {}

    async def look(*_: Any) -> dict[Any, Any]:
        consumer.ledger.revoke()  # a rebalance, while the broker is asked
        return {}

    monkeypatch.setattr("worker.runtime.consumer.anchoring.look", look)
    with pytest.raises(IllegalStateError):
        asyncio.run(consumer.anchor())
    assert not consumer.ledger.positions()


def test_a_topic_that_is_left_alone_is_not_taken_when_it_is_assigned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leader that does not know of its new partitions yet assigns it as before."""
    consumer = LedgerConsumer.__new__(LedgerConsumer)
    other = ("grown", 0)
    consumer.ledger, consumer.doubts, consumer.left_alone = Ledger(), set(), frozenset()
    consumer.notes = {TP: Note(), other: Note()}
    consumer.ledger.assign({TP: 5, other: 7})
    consumer.leave_alone(frozenset({"grown"}))
    assert consumer.ledger.positions() == {TP: 5} and not consumer.doubts

    async def look(*_: Any) -> dict[Any, Any]:
        return {
            TopicPartition(*tp): Anchored(None, Note(), Anchor(at, 0, Finding.NEW))
            for tp, at in ((TP, 5), (other, 7))
        }

    async def seek(_: Any) -> None: ...

    tables = SimpleNamespace(changelog_topics=set())
    consumer.app = SimpleNamespace(
        tables=tables, kafka_client_settings={}, on_anchored=lambda positions: None
    )
    consumer._thread = SimpleNamespace(_ensure_consumer=lambda: None, seek_wait=seek)
    monkeypatch.setattr(LedgerConsumer, "assignment", lambda _: {TopicPartition(*TP)})
    monkeypatch.setattr("worker.runtime.consumer.anchoring.look", look)
    asyncio.run(consumer.anchor())
    assert consumer.ledger.positions() == {TP: 5} and not consumer.doubts
    consumer.leave_alone(frozenset())
    assert consumer.doubts == {"grown"}, "to be assigned anew, and read"
