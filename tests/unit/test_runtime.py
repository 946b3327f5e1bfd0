"""Ranges of records, and rows handed to a producer, with small fakes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from worker.runtime import records
from worker.runtime.delivery import Row, acknowledged, send_rows
from worker.runtime.records import RangeScheduler

MAX_BATCH = 1000


def fetched(topic: str, first: int, count: int) -> list[Any]:
    return [
        SimpleNamespace(topic=topic, partition=0, offset=first + i, timestamp=0, timestamp_type=0) for i in range(count)
    ]


def test_ranges_keep_order_and_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 10)
    waiting = {("a", 0): fetched("a", 100, 25), ("b", 0): fetched("b", 7, 5)}
    ranges = list(RangeScheduler().iterate(waiting))
    assert [(tp[0], r.value.records[0].offset, r.offset) for tp, r in ranges] == [
        ("a", 100, 109),
        ("b", 7, 11),
        ("a", 110, 119),
        ("a", 120, 124),
    ]


class Producer:
    """Takes batches as aiokafka's producer does; the broker gives offsets in order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, int, int]] = []
        self.error, self.offset = error, 0

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MAX_BATCH, 0, is_transactional=False)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append((topic, partition, batch.record_count()))
        if self.error:
            future.set_exception(self.error)
        else:
            future.set_result(SimpleNamespace(offset=self.offset))
        self.offset += batch.record_count()
        return future


def test_rows_go_out_in_as_few_batches_as_they_fit_and_the_last_offsets_come_back() -> None:
    async def story() -> None:
        producer = Producer()
        rows = [Row(b"k", b"v" * 200, [("h", b"x")]) for _ in range(9)]
        sent = await send_rows(producer, "topic", 3, rows)
        assert [count for _, _, count in producer.sent] == [4, 4, 1]
        assert await acknowledged(sent) == [3, 7, 8]
        assert await acknowledged(await send_rows(producer, "topic", 3, [])) == []

    asyncio.run(story())


def test_a_row_larger_than_a_batch_goes_out_alone() -> None:
    async def story() -> None:
        producer = Producer()
        await send_rows(
            producer, "dead-letters", 0, [Row(None, b"v"), Row(b"k", b"x" * 5 * MAX_BATCH), Row(b"k", None)]
        )
        assert [count for _, _, count in producer.sent] == [1, 1, 1]

    asyncio.run(story())


def test_a_refusal_by_the_broker_is_raised() -> None:
    async def story() -> None:
        sent = await send_rows(Producer(ConnectionError("no leader")), "topic", 0, [Row(b"k", b"v")])
        with pytest.raises(ConnectionError, match="no leader"):
            await acknowledged(sent)

    asyncio.run(story())
