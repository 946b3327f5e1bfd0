"""The latency benchmark runs and says what it should; how fast anything was is no matter here."""

import asyncio
from collections import defaultdict
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from aiokafka.partitioner import DefaultPartitioner

from benchmarks import load
from benchmarks.load import Received, Sent, latencies
from tests.benchmarks.reports import report

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_every_rate_beside_the_echo(tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    found = report("latency", tmp_path, "--plot", str(picture))
    assert found["environment"]["broker"] == "embedded"
    runs = [*found["stub"]["runs"], *found["stub"]["echo"], *found["pprm"]["runs"]]
    assert {run["rate"] for run in runs} >= {500, 25}
    for run in runs:
        assert run["events"] > 0 and run["p50_ms"] > 0 and run["unanswered"] == 0
    assert picture.stat().st_size > 1000


def test_an_event_is_answered_by_the_first_list_that_knows_it() -> None:
    planned = np.array([1.0, 1.1, 1.2, 1.3])
    sent = Sent(np.array([7, 7, 8, 7]), np.array([0, 2, 1, 3]), planned, planned)
    # the list of user 7 at offset 2 answers both of its events so far; it came twice
    received = Received(np.array([7, 8, 7]), np.array([2, 1, 2]), np.array([1.5, 1.6, 1.9]))
    found = latencies(sent, received)
    assert found[:3] == pytest.approx([0.5, 0.4, 0.4]) and np.isinf(found[3])


class Broker:
    """A producer and the log behind it: keys by partition."""

    log: ClassVar = defaultdict[int, list[bytes]](list)

    def __init__(self, **_: Any) -> None:
        self.log.clear()

    async def __aenter__(self) -> "Broker":
        return self

    async def __aexit__(self, *_: Any) -> None:
        pass

    def create_batch(self) -> Any:
        keys: list[bytes] = []
        return SimpleNamespace(keys=keys, append=lambda key, value, timestamp: keys.append(key))

    async def send_batch(self, batch: Any, topic: str, partition: int) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=len(self.log[partition])))
        self.log[partition] += batch.keys
        return future

    async def send(self, topic: str, value: bytes, key: bytes, partition: int) -> None:
        self.log[partition].append(key)


def test_the_sender_knows_where_each_event_lies_and_ends_every_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "AIOKafkaProducer", Broker)
    plan = load.Plan(5000, monotonic(), 0.2, users=40, products=["p"], seed=7)
    sent = load.send("", "purchases", 3, plan)
    partitions = [
        DefaultPartitioner()(str(user).encode(), [0, 1, 2], [0, 1, 2]) for user in sent.user
    ]
    found = [Broker.log[number][at] for number, at in zip(partitions, sent.offset, strict=True)]
    assert found == [str(user).encode() for user in sent.user] and len(found) == 1000
    assert [keys[-1] for _, keys in sorted(Broker.log.items())] == [plan.last] * 3
    assert (sent.handed_over >= sent.planned).all()
