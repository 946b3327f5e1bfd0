"""A shop to test with.

Topics of its own on a broker, plain clients to publish and read, and real worker processes.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.recommendations import Cause
from worker.kafka import topics
from worker.kafka.embedded import free_port
from worker.settings import Settings, client_settings, load

READY_SECONDS = 150
PARTITIONS = 2
QUIET_MS = 700


@dataclass
class Worker:
    """A worker process."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=5
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_until_ready(self) -> "Worker":
        return self._wait_for("/ready")

    def wait_until_live(self) -> "Worker":
        return self._wait_for("/live")

    def _wait_for(self, path: str) -> "Worker":
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.tail()
            try:
                if self.get(path)[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{path}: {self.get(path)}\n{self.tail()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = (
            line
            for line in self.get("/metrics")[1].splitlines()
            if line.split("{")[0].split(" ")[0] == name
        )
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@dataclass
class Shop:
    """Topics with a prefix of their own, and clients."""

    broker: str
    name: str
    directory: Path
    extra: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    is_apache: bool = False
    sells: bool = False
    """Whether a product was published; a shop without any asks for lists without items."""
    partitions: int = PARTITIONS
    ticks: int = 0
    """See `tests.faults.harness.tick`."""

    def logs(self) -> list[Path]:
        return sorted(self.directory.glob("*.log"))

    @property
    def settings(self) -> Settings:
        return load(
            {
                "app_id": self.name,
                "kafka": {"bootstrap_servers": self.broker},
                "topics": {"prefix": f"{self.name}-", "partitions": self.partitions},
            }
        )

    def topic(self, family: str) -> str:
        own = {"changelog": self.settings.changelog, "rekeyed": self.settings.rekeyed_topic}
        return own.get(family) or self.settings.topics.name(family)

    async def create_topics(self) -> None:
        await topics.create(client_settings(self.settings.kafka), topics.plan(self.settings))

    def start_worker(
        self,
        name: str = "worker",
        sabotage: Sequence[str] = (),
        python: str = sys.executable,
        **settings: str,
    ) -> Worker:
        """Start a worker with a directory of its own.

        `settings` are environment variables without the prefix.

        `sabotage` builds faults into it, see `tests.faults.sabotage`; `python` is that of another
        environment.
        """
        port, log = free_port(), self.directory / f"{name}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PPRM_")}
        environment |= {
            "PPRM_APP_ID": self.name,
            "PPRM_KAFKA__BOOTSTRAP_SERVERS": self.broker,
            "PPRM_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            "PPRM_TOPICS__PREFIX": f"{self.name}-",
            "PPRM_TOPICS__PARTITIONS": str(self.partitions),
            "PPRM_STATE__DIRECTORY": str(self.directory / name),
            "PPRM_HTTP__PORT": str(port),
            "PPRM_RECOMMENDATIONS__EMPTY_CATALOGUE": str(not self.sells),
            # a test that asks for none wants no lists but those that answer its events
            "PPRM_RECOMMENDATIONS__REFRESH_HOURS": "0",
            **self.extra,
            **{f"PPRM_{name}": value for name, value in settings.items()},
        }
        command = ["tests.faults.sabotage", *sabotage] if sabotage else ["worker", "worker"]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [python, "-m", *command], env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        worker = Worker(process, port, log)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    async def configure(self, topic: str, **config: str) -> None:
        """Change a topic's configuration; of Apache Kafka only, the embedded broker has none."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        await admin.start()
        try:
            named = {name.replace("_", "."): value for name, value in config.items()}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])
        finally:
            await admin.close()

    async def publish(
        self, family: str, records: Iterable[tuple[str | None, Any]], codec: str | None = None
    ) -> list[Any]:
        """Publish (key, value) pairs, value as JSON, raw bytes or None.

        Returns what the broker acknowledged.
        """
        self.sells |= family == "products"
        async with self.producer(codec) as producer:
            futures = [
                await producer.send(
                    self.topic(family), key=key and key.encode(), value=_bytes(value)
                )
                for key, value in records
            ]
            return [await future for future in futures]

    @asynccontextmanager
    async def producer(self, codec: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.broker, linger_ms=2, compression_type=codec
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def read(self, family: str) -> list[Any]:
        """Everything in a topic now, per partition in order."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self.topic(family), p) for p in range(self.partitions)])
            await consumer.seek_to_beginning()
            records: list[Any] = []
            while fetched := await consumer.getmany(timeout_ms=QUIET_MS):
                records += [record for batch in fetched.values() for record in batch]
            return records
        finally:
            await consumer.stop()

    async def wait_for(self, family: str, done: Any, seconds: float = 30) -> list[Any]:
        """Read a topic again and again until `done(records)`."""
        deadline = time.monotonic() + seconds
        while True:
            records = await self.read(family)
            if done(records):
                return records
            assert time.monotonic() < deadline, (
                f"{family}: {len(records)} records\n{self.workers[-1].tail()}"
            )

    async def lists(self, kinds: Collection[str] = get_args(Cause)) -> dict[str, Any]:
        """Each shopper's newest list that has such a trigger, None where they were forgotten."""
        records = await self.read("recommendations")
        said = [(r.key.decode(), None if r.value is None else json.loads(r.value)) for r in records]
        return {
            user: made for user, made in said if made is None or made["trigger"]["kind"] in kinds
        }

    async def wait_for_answer(
        self, acknowledged: Any, user: str, seconds: float = 30
    ) -> dict[str, Any]:
        """The list that answers an event of a user, given its acknowledgement."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # one that nobody asked for may follow at once, where a product was withdrawn
            newest = (await self.lists(("event", "request"))).get(user)
            if newest and answers(newest["trigger"], acknowledged):
                return newest  # type: ignore[no-any-return]
        raise AssertionError(
            f"no list for {user}, the newest is {newest}\n{self.workers[-1].tail()}"
        )


def answers(trigger: Mapping[str, Any], acknowledged: Any) -> bool:
    return (trigger["topic"], trigger["partition"]) == (
        acknowledged.topic,
        acknowledged.partition,
    ) and trigger["offset"] >= acknowledged.offset


def product(i: int, **changes: Any) -> tuple[str, Any]:
    """A product whose text the bundled artifact knows, so that a test need not wait for BERT."""
    kinds = [
        ("FLUID MILK WHITE ONLY", ["GROCERY", "FLUID MILK PRODUCTS", "FLUID MILK WHITE ONLY"]),
        ("BANANAS", ["PRODUCE", "TROPICAL FRUIT", "BANANAS"]),
        (
            "SOFT DRINKS 12/18&15PK CAN CAR",
            ["GROCERY", "SOFT DRINKS", "SOFT DRINKS 12/18&15PK CAN CAR"],
        ),
    ]
    title, categories = kinds[i % len(kinds)]
    value = {
        "product_id": f"p{i}", "title": title, "categories": categories, "brand": f"m{i % 5}",
        "attributes": {"brand": "National"}, **changes,
    }  # fmt: skip
    return f"p{i}", value


def purchase(
    user: str, item: str, number: int, at: str = "2017-11-05T10:00:00Z", **changes: Any
) -> tuple[str, Any]:
    value = {
        "event_id": f"e{number}", "user_id": user, "product_id": item, "occurred_at": at,
        "basket_id": f"b{number}",
        **changes,
    }  # fmt: skip
    return user, value


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
