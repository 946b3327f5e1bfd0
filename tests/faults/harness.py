"""What the fault tests share.

Load, a supervisor, a slow link, samples of offsets, and the oracle's verdict.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.stores.rocksdb import Store

from tests.faults import workload
from tests.integration.brokers import FULL
from tests.integration.shop import PARTITIONS, Shop, Worker, product, purchase
from worker.kafka import placement

only_in_full = pytest.mark.skipif(not FULL, reason="part of `make test-faults`")

PRODUCTS = 30
USERS = 60
SETTLE_SECONDS = 60
REFRESH_SECONDS, SESSION_SECONDS = 360, 60
"""Of the load's time, a second an event."""
RULES = ["--refresh-seconds", str(REFRESH_SECONDS), "--session-seconds", str(SESSION_SECONDS)]
LATER = 100_000
"""Seconds after which no load has events."""


def size(small: int, full: int) -> int:
    return full if FULL else small


def freshen(shop: Shop) -> None:
    """Have the workers make lists again unasked, so often that it happens under load."""
    shop.extra |= {
        "PPRM_RECOMMENDATIONS__REFRESH_HOURS": str(REFRESH_SECONDS / 3600),
        "PPRM_RECOMMENDATIONS__SESSION_MINUTES": str(SESSION_SECONDS // 60),
        "PPRM_RECOMMENDATIONS__RETRACT_SECONDS": "4",
    }


def is_fresh(shop: Shop) -> bool:
    return "PPRM_RECOMMENDATIONS__SESSION_MINUTES" in shop.extra


async def open_shop(shop: Shop) -> None:
    await shop.create_topics()
    await shop.publish("products", [product(i) for i in range(PRODUCTS)])


def load(
    shop: Shop, events: int, per_second: int, seed: int = 1, first: int = 0, *, mixed: bool = False
) -> "asyncio.Task[None]":
    """Publish in the background."""
    return asyncio.create_task(
        workload.feed(
            shop.broker, f"{shop.name}-", users=USERS, products=PRODUCTS, events=events,
            per_second=per_second, withdraw=_going(seed) if is_fresh(shop) else (),
            seed=seed, first=first, idempotent=shop.is_apache, mixed=PARTITIONS if mixed else 0,
        )
    )  # fmt: skip


def _going(seed: int) -> list[int]:
    """Products that are withdrawn under a load, always fewer than there are."""
    return [PRODUCTS - 1 - (2 * seed + place) % (PRODUCTS // 3) for place in range(2)]


async def tick(shop: Shop) -> None:
    """Something happens in each partition, later than all before: what is due is made then.

    A worker that has just taken a partition over knows no time yet.
    """
    shop.ticks += 1
    at = (workload.START + timedelta(seconds=LATER * shop.ticks)).isoformat()
    named = [f"clock-{number}" for number in range(8 * PARTITIONS)]
    homes = placement.homes("murmur2", [name.encode() for name in named], PARTITIONS).tolist()
    one_each = {home: name for name, home in zip(named, homes, strict=True)}
    assert len(one_each) == PARTITIONS
    await shop.publish(
        "purchases", [purchase(name, "p1", LATER * shop.ticks, at) for name in one_each.values()]
    )


@dataclass
class Verdict:
    """What the oracle counted."""

    clean: bool
    report: dict[str, Any]
    said: str

    def __getitem__(self, name: str) -> int:
        return int(self.report[name])


async def judge(shop: Shop, seconds: int = SETTLE_SECONDS, exactly_once: bool = False) -> Verdict:
    """Have the oracle's process look at the topics until all is well or time is over."""
    report = shop.directory / "oracle.json"
    command = [
        sys.executable, "-m", "tests.faults.oracle", "--broker", shop.broker, "--app-id", shop.name,
        "--prefix", f"{shop.name}-", "--partitions", str(PARTITIONS), "--wait", str(seconds),
        "--report", str(report),
        *(["--exactly-once"] if exactly_once else []),
        *(RULES if is_fresh(shop) else []),
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    found = json.loads(report.read_text()) if report.exists() else {}
    return Verdict(done.returncode == 0, found, done.stdout + done.stderr)


async def assert_clean(
    shop: Shop, seconds: int = SETTLE_SECONDS, exactly_once: bool = False
) -> Verdict:
    if is_fresh(shop):
        await tick(shop)
    verdict = await judge(shop, seconds, exactly_once)
    logs = "\n".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in shop.logs()
    )
    assert verdict.clean, f"{verdict.said}\n{json.dumps(verdict.report, indent=1)[:4000]}\n{logs}"
    return verdict


@asynccontextmanager
async def supervised(
    shop: Shop, name: str = "worker", **options: Any
) -> AsyncIterator[Callable[[], Worker]]:
    """Keep a worker running as a supervisor would.

    Yields a function that returns the current process.
    """
    current = [shop.start_worker(name, **options)]

    async def restart() -> None:
        while True:
            await asyncio.sleep(0.2)
            if not current[0].alive:
                current[0] = shop.start_worker(name, **options)

    task = asyncio.create_task(restart())
    try:
        yield lambda: current[0]
    finally:
        task.cancel()


async def kill_and_wait_for_the_next(worker: Callable[[], Worker]) -> None:
    killed = worker()
    killed.kill()
    async with asyncio.timeout(60):
        while worker() is killed:
            await asyncio.sleep(0.05)


async def until_ready(worker: Worker) -> Worker:
    return await asyncio.to_thread(worker.wait_until_ready)


async def until_busy(shop: Shop, records: int = 50) -> None:
    """Wait until the workers have written so many states."""
    await shop.wait_for("changelog", lambda found: len(found) >= records, 60)


@dataclass
class Offsets:
    """Samples of offsets that may never go back, and where they did."""

    newest: dict[tuple[str, int], int] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)
    samples: int = 0

    def see(self, what: str, partition: int, offset: int | None) -> None:
        if offset is None or offset < 0:
            return
        self.samples += 1
        if offset < self.newest.get((what, partition), -1):
            self.went_back.append(f"{what} {partition}: {self.newest[what, partition]} -> {offset}")
        self.newest[what, partition] = offset

    async def see_committed(self, shop: Shop) -> None:
        """The group's offsets, as the broker has them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=shop.broker, group_id=shop.name, enable_auto_commit=False
        )
        await consumer.start()
        try:
            tps = [
                TopicPartition(shop.topic(f), p)
                for f in ("purchases", "browses")
                for p in range(PARTITIONS)
            ]
            consumer.assign(tps)
            for tp in tps:
                self.see(f"committed {tp.topic}", tp.partition, await consumer.committed(tp))
        finally:
            await consumer.stop()

    def see_persisted(self, directory: Path) -> None:
        """The changelog offsets in the RocksDB files of a worker that is not running."""
        for path in sorted(directory.rglob("user_state-*.db")):
            if not path.is_dir():
                continue
            options = rocksdict.Options(raw_mode=True)
            db = rocksdict.Rdict(str(path), options, access_type=rocksdict.AccessType.read_only())
            value = db.get(Store.offset_key)
            db.close()
            self.see(
                f"persisted in {directory.name}",
                int(path.stem.split("-")[-1]),
                int(value) if value else None,
            )


def database(shop: Shop, partition: int, name: str = "worker") -> Path:
    """Directory of a partition's RocksDB files."""
    (path,) = [p for p in (shop.directory / name).rglob(f"user_state-{partition}.db") if p.is_dir()]
    return path


def rng_of(request_name: str) -> random.Random:
    return random.Random(request_name)
