"""Ranges of records, and rows handed to a producer, with small fakes."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.unit.runtime.idle_app import idle_app
from worker.kafka import reader
from worker.kafka.batches import Unreadable
from worker.kafka.reader import Run
from worker.runtime import app, changelog, consumer
from worker.runtime.changelog import ChangelogError, Replay, gaps
from worker.runtime.consumer import LedgerConsumer, _OnTheLoop
from worker.runtime.delivery import Append, Row, append_rows
from worker.runtime.fetch_sessions import Sessions
from worker.runtime.records import Fetched, RangeScheduler

MAX_BATCH = 1000


def fetched(topic: str, first: int, count: int) -> list[Any]:
    return [
        SimpleNamespace(topic=topic, partition=0, offset=first + i, timestamp=0, timestamp_type=0)
        for i in range(count)
    ]


def test_ranges_keep_order_and_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runtime.records.MAX_RECORDS", 10)
    waiting = {
        ("a", 0): Run(98, 127, fetched("a", 100, 25)),
        ("b", 0): Run(7, 12, fetched("b", 7, 5)),
    }
    ranges = list(RangeScheduler().iterate(waiting))
    assert [
        (tp[0], r.value.start, r.value.records[0].offset, r.offset, r.value.end) for tp, r in ranges
    ] == [
        ("a", 98, 100, 109, 110),
        ("b", 7, 7, 11, 12),
        ("a", 110, 110, 119, 120),
        ("a", 120, 120, 124, 127),
    ]


class Producer:
    """Takes batches as aiokafka's producer does; the broker gives offsets in order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, int, int]] = []
        self.error, self.offset = error, 0

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MAX_BATCH, 0, is_transactional=False)

    async def send_batch(
        self, batch: BatchBuilder, topic: str, *, partition: int
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append((topic, partition, batch.record_count()))
        if self.error:
            future.set_exception(self.error)
        else:
            future.set_result(SimpleNamespace(offset=self.offset))
        self.offset += batch.record_count()
        return future


def test_rows_go_out_in_as_few_batches_as_they_fit_and_their_offsets_come_back() -> None:
    async def story() -> None:
        producer = Producer()
        rows = [Row(b"k", b"v" * 200, [("h", b"x")]) for _ in range(9)]
        appends = await append_rows(producer, {("topic", 3): rows})
        assert [count for _, _, count in producer.sent] == [4, 4, 1]
        assert appends == {("topic", 3): [Append(0, 4), Append(4, 4), Append(8, 1)]}
        assert await append_rows(producer, {("topic", 3): []}) == {("topic", 3): []}

    asyncio.run(story())


def test_a_row_larger_than_a_batch_goes_out_alone() -> None:
    async def story() -> None:
        producer = Producer()
        rows = [Row(None, b"v"), Row(b"k", b"x" * 5 * MAX_BATCH), Row(b"k", None)]
        await append_rows(producer, {("dead-letters", 0): rows})
        assert [count for _, _, count in producer.sent] == [1, 1, 1]

    asyncio.run(story())


def test_a_refusal_by_the_broker_is_raised() -> None:
    async def story() -> None:
        with pytest.raises(ConnectionError, match="no leader"):
            await append_rows(
                Producer(ConnectionError("no leader")), {("topic", 0): [Row(b"k", b"v")]}
            )

    asyncio.run(story())


def test_offsets_between_our_appends_are_somebody_elses() -> None:
    assert gaps(10, [Append(10, 3), Append(13, 1)]) == []
    assert gaps(10, [Append(12, 3), Append(15, 1), Append(20, 2)]) == [range(10, 12), range(16, 20)]


class Table:
    """A table in memory whose values are one letter and a watermark."""

    def __init__(self, generation: int = 0, **held: bytes) -> None:
        self.held: dict[bytes, bytes | None] = {key.encode(): value for key, value in held.items()}
        self.started, self.offset = generation, -1

    def generation(self, _: int) -> int:
        return self.started

    def get_many(self, _: int, keys: list[bytes]) -> list[bytes | None]:
        return [self.held.get(key) for key in keys]

    def follows(self, value: bytes, held: bytes) -> bool:
        return value[-1] >= held[-1]

    def write(
        self, _: int, updates: dict[bytes, bytes | None], offset: int, generation: int
    ) -> None:
        self.held |= updates
        self.offset, self.started = offset, generation


def logged(*records: tuple[str, bytes | None, int]) -> list[Any]:
    return [
        SimpleNamespace(
            offset=n,
            key=key.encode(),
            value=value,
            headers=[("generation", str(generation).encode())],
        )
        for n, (key, value, generation) in enumerate(records)
    ]


def test_a_former_owners_record_after_the_new_owners_is_passed_over_and_its_key_remembered() -> (
    None
):
    table = Table()
    replay = Replay(table, 0)  # type: ignore[arg-type]
    replay.apply(
        logged(("a", b"x5", 3), ("b", b"x1", 3), ("a", b"x7", 4), ("a", b"z6", 3), ("b", b"z2", 3))
    )
    assert table.held == {b"a": b"x7", b"b": b"z2"} and replay.overwritten == {b"a"}
    assert (table.offset, table.started) == (4, 4)


def test_a_key_that_its_owner_wrote_again_needs_no_repair() -> None:
    table = Table(generation=9, a=b"x7")
    replay = Replay(table, 0)  # type: ignore[arg-type]
    replay.apply(logged(("a", b"z6", 8)))
    replay.apply(logged(("a", b"x8", 9)))
    assert table.held == {b"a": b"x8"} and not replay.overwritten


def test_generations_that_begin_again_lose_nothing() -> None:
    table = Table(generation=57, a=b"x7")
    replay = Replay(table, 0)  # type: ignore[arg-type]
    replay.apply(logged(("a", b"x8", 1), ("b", b"x1", 1), ("a", b"x9", 1)))
    assert table.held == {b"a": b"x9", b"b": b"x1"} and not replay.overwritten


def test_a_generation_that_is_null_is_none() -> None:
    table = Table(generation=57, a=b"x7")
    (record,) = logged(("a", b"x8", 0))
    record.headers = [("generation", None)]
    Replay(table, 0).apply([record])  # type: ignore[arg-type]
    assert table.held == {b"a": b"x8"} and table.started == 57


def test_what_cannot_be_read_among_our_appends_is_said_and_not_taken_for_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tp = TopicPartition("log", 0)
    bad = Unreadable("log", 0, 5, 0, 0, None, b"?", (), "its checksum does not fit")

    class Consumer:
        at = 5

        def seek(self, _: Any, offset: int) -> None:
            self.at = offset

        async def position(self, _: Any) -> int:
            return self.at

        async def getmany(self, *_: Any, **__: Any) -> dict[Any, list[Any]]:
            self.at += 1
            return {tp: [bad]}

    @asynccontextmanager
    async def of(*_: Any) -> AsyncIterator[Consumer]:
        yield Consumer()

    monkeypatch.setattr(changelog, "reader", of)
    with pytest.raises(ChangelogError, match="checksum"):
        asyncio.run(changelog.foreign_keys({}, tp, range(5, 6), 3))


def run_result(position: int, offsets: list[int], end: int) -> tuple[Any, Any]:
    """aiokafka's state of a partition at a position, and a fetch result with these offsets."""
    state = SimpleNamespace(has_valid_position=True, position=position, paused=False)
    state.consumed_to = lambda at: setattr(state, "position", at)
    return state, fetch(state, position, offsets, end)


def fetch(state: Any, position: int, offsets: list[int], end: int) -> Any:
    class Part:
        next_fetch_offset, opened = position, 0

        def __iter__(self) -> Any:
            for offset in offsets:
                self.next_fetch_offset = offset + 1
                yield SimpleNamespace(offset=offset)
            self.next_fetch_offset = end

    part = Part()
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    return reader.RunResult(("t", 0), assignment=assignment, partition_records=part, backoff=0)


def test_a_run_covers_what_the_log_does_not_hold() -> None:
    # compacted before and between, a marker at the end
    state, result = run_result(10, [12, 13, 17], end=19)
    run = result.getall()
    assert (run.start, run.end, [r.offset for r in run]) == (10, 19, [12, 13, 17])
    assert fetch(state, 19, [], end=20).getall() == []  # nothing but a marker
    run = fetch(state, 20, [20, 21], end=22).getall()
    assert (run.start, run.end) == (19, 22)


def test_a_run_after_a_seek_covers_nothing_before_it() -> None:
    state, result = run_result(10, [], end=12)
    assert result.getall() == []
    state.position = 30
    assert fetch(state, 12, [12], end=13).getall() == []  # fetched before the seek
    run = fetch(state, 30, [31], end=32).getall()
    assert (run.start, run.end) == (30, 32)


def test_a_faust_without_its_compiled_iterator_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("faust.streams._CStreamIterator", None)
    with pytest.raises(RuntimeError, match="compiled extension"):
        idle_app(tmp_path)


def test_what_faust_would_do_by_itself_is_off(tmp_path: Path) -> None:
    made = idle_app(tmp_path, instance_id="one")
    assert (
        made.conf.table_standby_replicas == 0
        and not made.conf.topic_allow_declare
        and not made.conf.web_enabled
    )
    assert made.conf.stream_buffer_maxsize > 1000 * consumer.MAX_WAITING_RANGES, (
        "its pauses are never reached"
    )
    assert (
        made.conf.consumer_auto_offset_reset == "earliest"
        and made.conf.consumer_group_instance_id == "one"
    )


def test_a_seek_in_a_partition_given_away_meanwhile_is_no_error() -> None:
    sought: list[tuple[str, int]] = []

    def seek(partition: str, offset: int) -> None:
        if partition == "gone":
            raise IllegalStateError
        sought.append((partition, offset))

    inner = _OnTheLoop.__new__(_OnTheLoop)
    inner._consumer = SimpleNamespace(seek=seek)
    inner.seek("gone", 1)
    inner.seek("here", 5)
    assert sought == [("here", 5)]


def test_the_consumer_has_no_thread_and_no_loop_of_its_own(tmp_path: Path) -> None:
    """In a thread, a seek would take away what a fetch is just handing out (H38)."""

    async def story() -> None:
        made = idle_app(tmp_path)
        inner = made.consumer._thread
        client = inner._create_worker_consumer(made.transport)
        assert (
            isinstance(client._client.send.__self__, Sessions)
            and client._isolation_level == "read_committed"
        )
        assert client._fetch_max_wait_ms == consumer.FETCH_MAX_WAIT_MS
        client._closed = True  # it was never started
        assert inner.thread_loop is inner.parent_loop is made.consumer.loop
        started = threading.active_count()

        async def start() -> None:
            inner._consumer = SimpleNamespace(stop=stopped)

        async def stopped() -> None:
            seen.append("stopped")

        seen: list[str] = []
        inner.on_start = start
        await inner.start()
        assert threading.active_count() == started
        assert await inner.call_thread(asyncio.sleep, 0, "told") == "told"
        await inner.stop()
        assert seen == ["stopped"]

    asyncio.run(story())


class Draining(LedgerConsumer):
    """A consumer that is handed messages, a fetch at a time, and hands them over to a channel."""

    def __init__(self, fetches: list[list[int]], suspended: bool = False) -> None:
        self.fetches, self.queue = fetches, asyncio.Queue[Any]()
        self._stopped, self.suspend_flow = asyncio.Event(), asyncio.Event()
        self.asked = 0
        self.app = SimpleNamespace(
            topics=[SimpleNamespace(queue=self.queue)], should_stop=False,
            flow_control=SimpleNamespace(is_active=lambda: not suspended),
        )  # fmt: skip

        async def callback(message: int) -> None:
            if suspended:
                await asyncio.sleep(60)
            self.queue.put_nowait(SimpleNamespace(value=message))

        self.callback = callback

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[str, int]]:
        self.asked += 1
        if not self.fetches:
            await asyncio.sleep(timeout)
            return
        for message in self.fetches.pop(0):
            yield "tp", message

    async def wait_first(self, *coroutines: Any) -> None:
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _drained(made: Draining, until: Callable[[], bool]) -> None:
    fetcher = SimpleNamespace(_stopped=asyncio.Event())
    task = asyncio.create_task(made._drain_messages(fetcher))
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0.001)
    fetcher._stopped.set()
    made.app.should_stop = True
    task.cancel()
    await task


def test_what_is_sought_back_is_handed_over_again() -> None:
    async def story() -> list[int]:
        made = Draining([[5, 6], [5, 6, 7]])
        await _drained(made, lambda: made.queue.qsize() == 5)
        return [made.queue.get_nowait().value for _ in range(5)]

    assert asyncio.run(story()) == [5, 6, 5, 6, 7]


def test_while_too_much_waits_no_more_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "MAX_WAITING_RANGES", 3)

    async def story() -> None:
        made = Draining([[1, 2], [3, 4], [5]])

        def taken() -> bool:
            if made.queue.qsize() == 4 and made.asked == 2:
                waited.append(made.asked)
            if len(waited) == 20 and not seen:
                while not made.queue.empty():
                    seen.append(made.queue.get_nowait().value)
            return made.queue.qsize() == 1

        waited, seen = list[int](), list[int]()
        await _drained(made, taken)
        assert seen == [1, 2, 3, 4] and made.queue.get_nowait().value == 5

    asyncio.run(story())


def test_while_too_many_bytes_wait_no_more_is_taken() -> None:
    made, half = Draining([]), consumer.MAX_WAITING_BYTES // 2
    for _ in range(2):
        assert not made._is_full()
        made.queue.put_nowait(SimpleNamespace(value=Fetched(0, 1, [], 0.0, half)))
    assert made._is_full()


def test_a_rebalance_ends_the_waiting_of_what_is_handed_over() -> None:
    async def story() -> None:
        made = Draining([[1]], suspended=True)
        made.suspend_flow.set()
        await _drained(made, lambda: made.asked == 2)
        assert made.queue.empty()

    asyncio.run(story())


def test_a_fetcher_that_is_stopped_ends_by_itself() -> None:
    async def story() -> None:
        made, fetcher = Draining([[1]]), SimpleNamespace(_stopped=asyncio.Event())
        fetcher._stopped.set()
        async with asyncio.timeout(2):
            await made._drain_messages(fetcher)
        assert made.fetches == [[1]]

    asyncio.run(story())


def test_a_fetcher_that_is_cancelled_outside_of_a_stop_says_so() -> None:
    async def story() -> None:
        made = Draining([])
        task = asyncio.create_task(made._drain_messages(SimpleNamespace(_stopped=asyncio.Event())))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_a_worker_lets_its_threads_take_turns_often(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = sys.getswitchinterval(), []
    worker = SimpleNamespace(execute_from_commandline=lambda: seen.append(sys.getswitchinterval()))
    monkeypatch.setattr(app, "_Worker", lambda *_, **__: worker)
    try:
        app.run(SimpleNamespace())
    finally:
        sys.setswitchinterval(before)
    assert seen == [pytest.approx(app.SWITCH_SECONDS, rel=0.01)] and seen[0] < before
