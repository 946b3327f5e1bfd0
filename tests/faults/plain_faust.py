"""The same job as a plain Faust app, to show what the fault suite is about.

`python -m tests.faults.plain_faust --on apache` runs T1, T2, T8, T11 and T15 on it and prints, per
test, how many events the group has committed and the state does not hold, and how many the state
holds twice. A Faust app as its documentation writes one: a model, a table, an agent; nothing is
sabotaged but what the test itself does.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.faults import workload
from tests.faults.link import Link, broker_behind
from worker.kafka.embedded import free_port

PARTITIONS, SESSION_SECONDS, START_SECONDS = 2, 6, 9
SLOW_LINK = 30_000
"""Bytes per second of a connection."""


def serve(app_id: str, broker: str, prefix: str, directory: str, fail_at: int) -> None:
    """Run the app."""
    import faust

    app = faust.App(
        app_id,
        broker=f"kafka://{broker}",
        store="rocksdb://?driver=rocksdict",
        datadir=directory,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=1.0,
        web_enabled=False,
    )

    class Event(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
        event_id: str
        user_id: str
        product_id: str
        occurred_at: str

    events = app.topic(f"{prefix}purchases", f"{prefix}browses", value_type=Event)
    lists = app.topic(f"{prefix}recommendations")
    sequences = app.Table("sequences", default=list)
    seen = 0

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def answer(stream: Any) -> None:
        nonlocal seen
        async for event in stream:
            seen += 1
            if seen == fail_at:
                raise RuntimeError("this event fails")
            sequence = sequences[event.user_id]
            sequence.append(event.event_id)
            sequences[event.user_id] = sequence[-2000:]
            await lists.send(key=event.user_id, value={"answers": event.event_id})

    worker = faust.Worker(app, loglevel="WARNING", quiet=True)
    worker.execute_from_commandline()


@dataclass
class Plain:
    """Topics and processes of one test."""

    broker: str
    name: str
    directory: Path
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def prefix(self) -> str:
        return f"{self.name}-"

    async def create_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        await admin.start()
        names = [self.prefix + n for n in ("purchases", "browses", "recommendations")]
        names.append(f"{self.name}-sequences-changelog")
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        await admin.close()

    def start(self, name: str = "a", fail_at: int = 0) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "tests.faults.plain_faust",
            "--serve",
            self.name,
            "--broker",
            self.broker,
        ]
        command += ["--directory", str(self.directory / name), "--fail-at", str(fail_at)]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def load(self, events: int, per_second: int, first: int = 0) -> "asyncio.Task[None]":
        return asyncio.create_task(
            workload.feed(
                self.broker, self.prefix, users=60, products=30, events=events,
                per_second=per_second, seed=1,
                first=first,
            )
        )  # fmt: skip

    async def verdict(self, settle: float = 12.0) -> dict[str, int]:
        """Follow every event below the group's offsets into the state."""
        await asyncio.sleep(settle)
        committed = await self._committed()
        held: dict[bytes, list[str]] = {}
        for record in await self._read(f"{self.name}-sequences-changelog"):
            held[record.key] = json.loads(record.value) if record.value else []
        counts = Counter(event for sequence in held.values() for event in sequence)
        inputs = await self._read(self.prefix + "purchases") + await self._read(
            self.prefix + "browses"
        )
        below = [r for r in inputs if r.offset < committed.get((r.topic, r.partition), 0)]
        lost = sum(_event_id(r) not in counts for r in below)
        published = Counter(map(_event_id, inputs))  # the load itself has repeats
        twice = sum(count > published[event] for event, count in counts.items())
        unread = len(inputs) - len(below)
        return {"events": len(inputs), "lost": lost, "twice in state": twice, "never read": unread}

    async def _committed(self) -> dict[tuple[str, int], int]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker, group_id=self.name, enable_auto_commit=False
        )
        await consumer.start()
        tps = [
            TopicPartition(self.prefix + f, p)
            for f in ("purchases", "browses")
            for p in range(PARTITIONS)
        ]
        consumer.assign(tps)
        found = {(tp.topic, tp.partition): await consumer.committed(tp) or 0 for tp in tps}
        await consumer.stop()
        return found

    async def _read(self, topic: str) -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker, enable_auto_commit=False)
        await consumer.start()
        tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        records: list[Any] = []
        while fetched := await consumer.getmany(timeout_ms=700):
            records += [record for batch in fetched.values() for record in batch]
        await consumer.stop()
        return records


def _event_id(record: Any) -> str:
    try:
        return str(json.loads(record.value)["event_id"])
    except (ValueError, KeyError, TypeError):
        return "poison"


async def t1(plain: Plain, _: Link) -> dict[str, int]:
    """Another worker joins and leaves six times under load; nobody crashes."""
    plain.start("a")
    await asyncio.sleep(START_SECONDS)
    feeding = plain.load(20_000, 250)
    for number in range(6):
        other = plain.start(f"b{number}")
        await asyncio.sleep(START_SECONDS)
        other.terminate()
        await asyncio.to_thread(other.wait)
        await asyncio.sleep(2)
    await feeding
    return await plain.verdict()


async def t2(plain: Plain, _: Link) -> dict[str, int]:
    """kill -9 of the only worker, eight times."""
    rng = random.Random(2)
    process = plain.start()
    await asyncio.sleep(START_SECONDS)
    feeding = plain.load(6000, 100)
    for _kill in range(8):
        await asyncio.sleep(rng.uniform(3.0, 6.0))
        process.kill()
        process.wait()
        process = plain.start()
    await feeding
    return await plain.verdict(25)


async def t8(plain: Plain, _: Link) -> dict[str, int]:
    """An exception for one event in the middle."""
    plain.start(fail_at=500)
    await asyncio.sleep(START_SECONDS)
    await plain.load(1000, 200)
    return await plain.verdict()


async def t11(plain: Plain, _: Link) -> dict[str, int]:
    """Ten records that are no JSON, among others; there are no dead letters to look for them in."""
    plain.start()
    await asyncio.sleep(START_SECONDS)
    feeding = plain.load(1000, 100)
    async with AIOKafkaProducer(bootstrap_servers=plain.broker) as producer:
        for _number in range(10):
            await producer.send_and_wait(f"{plain.prefix}purchases", key=b"cid", value=b"{not json")
            await asyncio.sleep(0.7)
    await feeding
    return await plain.verdict()


async def t15(plain: Plain, link: Link) -> dict[str, int]:
    """A slow link to the broker under load, and a kill -9 while offsets are committed."""
    process = plain.start()
    await asyncio.sleep(START_SECONDS)
    feeding = plain.load(6000, 400)
    await asyncio.sleep(2)
    link.bytes_per_second = SLOW_LINK
    await asyncio.sleep(8)
    process.kill()
    process.wait()
    link.bytes_per_second = 0
    await feeding
    return await plain.verdict(0)


TESTS: dict[str, Callable[[Plain, Link], Awaitable[dict[str, int]]]] = {
    "T1": t1, "T2": t2, "T8": t8, "T11": t11, "T15": t15,
}  # fmt: skip


def run(name: str, kind: str) -> dict[str, int]:
    """Run one test on a broker of its own, and end every process it started."""
    link = Link(free_port())
    address = f"127.0.0.1:{link.port}"
    with (
        tempfile.TemporaryDirectory() as directory,
        broker_behind(kind, Path(directory), address) as port,
    ):
        plain = Plain(address, f"plain-{name.lower()}", Path(directory))

        async def story() -> dict[str, int]:
            await link.open(port)
            await plain.create_topics()
            try:
                return await TESTS[name](plain, link)
            finally:
                await asyncio.to_thread(plain.stop)
                await link.close()

        return asyncio.run(story())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--on",
        default="apache",
        choices=["apache", "embedded"],
        help="apache: PPRM_TEST_KAFKA says where",
    )
    parser.add_argument("--broker", help=argparse.SUPPRESS)
    parser.add_argument("--tests", nargs="*", default=list(TESTS), choices=list(TESTS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    parser.add_argument("--fail-at", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(
            options.serve, options.broker, f"{options.serve}-", options.directory, options.fail_at
        )
    for name in options.tests:
        print(name, json.dumps(run(name, options.on)), flush=True)


if __name__ == "__main__":
    main()
