"""Real worker processes on a real broker, with a stub scorer.

How they share the work, and what partitions cost.

On Apache Kafka where PPRM_TEST_KAFKA names its folder, else on the embedded broker. The topics keep
only what was written last, so that a long run does not fill the disk; the worker knows nothing of
it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from benchmarks import processes, site
from benchmarks.scale import shop
from benchmarks.stub_worker import COUNTING
from tests.integration.brokers import apache_kafka, embedded_broker, has_apache
from tests.integration.shop import Worker, product
from worker.kafka import topics
from worker.kafka.embedded import free_port
from worker.settings import Settings, client_settings, load

ROOT = Path(__file__).parents[2]
KEPT = {
    "cleanup.policy": "delete",
    "retention.bytes": str(64 << 20),
    "segment.bytes": str(16 << 20),
}
"""Configuration of the topics that a long run would fill the broker's disk with."""
RETENTION = ("log.retention.check.interval.ms=5000", "log.segment.delete.delay.ms=1000")
AHEAD = 40_000
"""Events published and not yet processed, at most: a backlog, but one that the broker keeps."""
CHUNK = 2000
LOOK_SECONDS = 0.5
STALLED_SECONDS = 60
USERS = 100_000
WARM_UP = 5000
WORK_SECONDS = 30
"""At most, however slow the machine is."""
IDLE_SECONDS = 3


@contextmanager
def broker() -> Iterator[str]:
    """A broker of the benchmark's own; yields its address."""
    with tempfile.TemporaryDirectory() as directory:
        start = (
            apache_kafka(Path(directory), RETENTION)
            if has_apache()
            else embedded_broker(Path(directory))
        )
        with start as address:
            yield address


def broker_name() -> str:
    """Which broker it is."""
    return "Apache Kafka" if has_apache() else "embedded"


@dataclass
class Deployment:
    """Topics of its own on a broker, and workers."""

    settings: Settings
    directory: Path
    workers: list[Worker] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Start so many workers and wait until they share the partitions."""
        for i in range(number):
            self.workers.append(_start(self.settings, self.directory / f"worker-{i}"))
        for worker in self.workers:
            worker.wait_until_ready()

    def consumed(self) -> int:
        """Events that the workers have taken from the topic."""
        name, topic = "pprm_events_consumed_total", self.settings.topics.name("purchases")
        return int(sum(_labelled(worker, f'{name}{{topic="{topic}"}}') for worker in self.workers))

    def cpu_seconds(self) -> list[float]:
        """CPU time of each worker."""
        return [processes.cpu_seconds(worker.process.pid) for worker in self.workers]

    def stop(self) -> None:
        """End the workers."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()


def _labelled(worker: Worker, series: str) -> float:
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def _start(settings: Settings, directory: Path) -> Worker:
    directory.mkdir(parents=True)
    port, log = free_port(), directory / "worker.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PPRM_")} | {
        "PYTHONPATH": str(ROOT),
        "PPRM_APP_ID": settings.app_id,
        "PPRM_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "PPRM_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
        "PPRM_TOPICS__PREFIX": settings.topics.prefix,
        "PPRM_TOPICS__PARTITIONS": str(settings.topics.partitions),
        "PPRM_STATE__DIRECTORY": str(directory / "state"),
        "PPRM_HTTP__PORT": str(port),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *site.STUB, COUNTING],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Worker(process, port, log)


_numbers = count()


@asynccontextmanager
async def deployment(address: str, partitions: int, workers: int) -> AsyncIterator[Deployment]:
    """Make topics, publish a few products, start workers; all of them end with the context."""
    name = f"scale-{next(_numbers)}"
    settings = load(
        {
            "app_id": name,
            "kafka": {"bootstrap_servers": address},
            "topics": {"prefix": f"{name}-", "partitions": partitions},
        }
    )
    client = client_settings(settings.kafka)
    kept = {
        settings.topics.name("purchases"),
        settings.topics.name("recommendations"),
        settings.changelog,
    }
    await topics.create(
        client, [replace(s, config=KEPT) if s.name in kept else s for s in topics.plan(settings)]
    )
    await asyncio.sleep(1)  # until all partitions have leaders
    async with AIOKafkaProducer(**client) as producer:
        for i in range(30):
            key, value = product(i)
            await producer.send_and_wait(
                settings.topics.name("products"), orjson.dumps(value), key.encode()
            )
    with tempfile.TemporaryDirectory() as directory:
        deployed = Deployment(settings, Path(directory))
        try:
            await asyncio.to_thread(deployed.start, workers)
            yield deployed
        finally:
            deployed.stop()


@dataclass
class Watch:
    """What is seen of the workers while they work."""

    base: int
    """Events that had been taken before."""
    consumed: int = 0
    seconds: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    """Bytes, of all workers together; so is `disk`."""
    disk: list[int] = field(default_factory=list)


async def look(deployed: Deployment, watch: Watch) -> None:
    """Look at the workers for ever."""
    began = monotonic()
    while True:
        watch.consumed = await asyncio.to_thread(deployed.consumed) - watch.base
        watch.seconds.append(round(monotonic() - began, 2))
        watch.events.append(watch.consumed)
        watch.resident.append(
            sum(processes.resident(worker.process.pid) for worker in deployed.workers)
        )
        watch.disk.append(processes.bytes_below(deployed.directory))
        await asyncio.sleep(LOOK_SECONDS)


async def work(deployed: Deployment, events: int, seconds: float, users: int = USERS) -> Watch:
    """Publish purchases as fast as the workers take them, until so many or for so long.

    It returns when they have finished.
    """
    watch = Watch(deployed.consumed())
    looking = asyncio.create_task(look(deployed, watch))
    try:
        published = await _publish(deployed, watch, events, monotonic() + seconds, users)
        await _until(watch, published)
    finally:
        looking.cancel()
    return watch


async def _publish(
    deployed: Deployment, watch: Watch, events: int, deadline: float, users: int
) -> int:
    rng, topic, published = np.random.default_rng(0), deployed.settings.topics.name("purchases"), 0
    partitions = deployed.settings.topics.partitions
    async with AIOKafkaProducer(
        max_batch_size=1 << 20, **client_settings(deployed.settings.kafka)
    ) as producer:
        while published < events and monotonic() < deadline:
            await _until(watch, published - AHEAD)
            now = datetime.now(UTC).strftime(shop.TIME_FORMAT)
            batches = [producer.create_batch() for _ in range(partitions)]
            for user in rng.integers(users, size=min(CHUNK, events - published)).tolist():
                value = shop.purchase(user, published // users, shop.bought(user, published), now)
                batches[user % partitions].append(timestamp=None, key=b"u%d" % user, value=value)
                published += 1
            sent = [
                await producer.send_batch(b, topic, partition=p)
                for p, b in enumerate(batches)
                if b.record_count()
            ]
            await asyncio.gather(*sent)
    return published


async def _until(watch: Watch, consumed: int) -> None:
    """Wait until so many events are taken.

    Raises:
        TimeoutError: nothing moves.
    """
    seen, since = watch.consumed, monotonic()
    while watch.consumed < consumed:
        await asyncio.sleep(0.02)
        if watch.consumed > seen:
            seen, since = watch.consumed, monotonic()
        if monotonic() - since > STALLED_SECONDS:
            raise TimeoutError(f"the workers took {seen} of {consumed} events and no more")


def observe(address: str, workers: int, partitions: int, events: int) -> dict[str, Any]:
    """So many workers that share so many partitions.

    What they do in a second, and what they take, idle and at work.

    Sums over the workers, but for `ready_seconds` (topics made to all of them ready) and
    `cpu_shares`.
    """

    async def story() -> dict[str, Any]:
        began = monotonic()
        async with deployment(address, partitions, workers) as deployed:
            ready = monotonic() - began
            await work(deployed, WARM_UP, WORK_SECONDS)
            before, began = deployed.cpu_seconds(), monotonic()
            watch = await work(deployed, events, WORK_SECONDS)
            seconds, after = monotonic() - began, deployed.cpu_seconds()
            await asyncio.sleep(IDLE_SECONDS)
            pids = [worker.process.pid for worker in deployed.workers]
            cpu, idle = sum(after) - sum(before), sum(deployed.cpu_seconds()) - sum(after)
            return {
                "workers": workers, "partitions": partitions, "ready_seconds": ready,
                "events_per_second": watch.consumed / seconds,
                "cpu_us_per_event": cpu / watch.consumed * 1e6,
                "cpu_shares": [(b - a) / cpu for a, b in zip(before, after, strict=True)],
                "idle_cores": idle / IDLE_SECONDS,
                "resident_bytes": sum(map(processes.resident, pids)),
                "open_files": sum(map(processes.open_files, pids)),
                "threads": sum(map(processes.threads, pids)),
            }  # fmt: skip

    return asyncio.run(story())


def long(address: str, events: int, seconds: float, users: int) -> dict[str, Any]:
    """One worker over many events: its memory and disk, looked at all the time."""

    async def story() -> dict[str, Any]:
        async with deployment(address, 4, 1) as deployed:
            watch = await work(deployed, events, seconds, users)
        curve = {name: getattr(watch, name) for name in ("seconds", "events", "resident", "disk")}
        return {
            "users": users,
            "events": watch.consumed,
            "seconds": watch.seconds[-1],
            "curve": curve,
        }

    return asyncio.run(story())
