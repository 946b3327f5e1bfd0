"""`pprm tail` on a broker that says what was there before, that is not there, or goes away."""

import asyncio
import io
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from rich.console import Console

from worker.cli import tail

NOW = 1_700_000_000.0


def record(offset: int, at: float = NOW) -> Any:
    return SimpleNamespace(
        topic="t", partition=0, offset=offset, timestamp=int(at * 1000), key=b"ann", headers=(),
        value=b"{}",
    )  # fmt: skip


class Consumer:
    """Fetches these records one after the other, and then nothing; its broker answers or not."""

    def __init__(self, *records: Any, answers: bool = True, starts: bool = True) -> None:
        self.left, self.answers, self.starts = list(records), answers, starts
        self.stopped = False
        self._client = self

    async def start(self) -> None:
        if not self.starts:
            raise KafkaConnectionError("nobody is there")

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, _: Any) -> None:
        """All partitions."""

    async def seek_to_end(self) -> None:
        """Falls short, as the embedded broker's."""

    async def seek_to_beginning(self) -> None:
        """Where it is."""

    async def getmany(self, timeout_ms: int) -> dict[Any, list[Any]]:
        return {("t", 0): [self.left.pop(0)]} if self.left else {}

    async def force_metadata_update(self) -> bool:
        return self.answers


def read(monkeypatch: pytest.MonkeyPatch, consumer: Consumer, count: int, **options: Any) -> Any:
    """The offsets of the first records that come, at a clock that stands still."""

    async def counts(*_: Any) -> dict[str, int]:
        return {"t": 1}

    async def story() -> list[int]:
        offsets: list[int] = []
        stream = tail.records({}, "t", **{"from_beginning": False} | options)
        async for found in stream:
            offsets.append(found.offset)
            if len(offsets) == count:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return offsets

    monkeypatch.setattr(tail.reader, "consumer", lambda client: consumer)
    monkeypatch.setattr(tail, "partition_counts", counts)
    monkeypatch.setattr(tail, "time", lambda: NOW)
    return asyncio.run(story())


def test_what_was_there_before_is_passed_over_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = record(1, NOW - 60), record(2, NOW - 3), record(3, NOW - 1), record(4)
    assert read(monkeypatch, Consumer(*there), 2) == [3, 4]
    assert read(monkeypatch, Consumer(*there), 4, from_beginning=True) == [1, 2, 3, 4]


def test_a_late_record_that_comes_later_is_shown() -> None:
    assert not tail._was_there(record(1, NOW - 3600), NOW, NOW + 2.1)


def test_a_consumer_that_did_not_start_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer(starts=False)
    with pytest.raises(KafkaConnectionError):
        read(monkeypatch, consumer, 1)
    assert consumer.stopped


def test_a_broker_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "GONE_SECONDS", 0)
    consumer = Consumer(record(1), answers=False)
    with pytest.raises(ConnectionError, match="has not answered for 0 s"):
        read(monkeypatch, consumer, 2)
    assert consumer.stopped


def test_the_newest_record_is_on_top() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(tail._table("t", deque([record(111), record(222)]), {}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.index("222") < text.index("111")
