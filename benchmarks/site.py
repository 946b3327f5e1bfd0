"""A place to measure in.

A broker, topics, worker processes, and shoppers whose states lie in the changelog.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.brokers import BROKERS, has_apache
from worker.demo import kafka, processes
from worker.demo.processes import Worker
from worker.kafka import topics
from worker.kafka.embedded import free_port
from worker.runtime.delivery import Row
from worker.settings import Settings, client_settings, load

PARTITIONS = 4
WORKER = ["-m", "worker", "worker"]
STUB = ["-m", "benchmarks.stub_worker"]
PUBLISHED_AT_ONCE = 5000
"""Rows encoded and sent at a time: bounds memory."""


@contextmanager
def broker(kind: str, directory: Path) -> Iterator[str]:
    """Run an `embedded` or `apache` broker; yields its host:port.

    PPRM_TEST_KAFKA says where Apache Kafka is.
    """
    if kind == "apache" and not has_apache():
        sys.exit(
            "--broker apache: set PPRM_TEST_KAFKA to the folder of an Apache Kafka with `run DIR"
            " PORT`"
        )
    (directory / kind).mkdir(parents=True, exist_ok=True)
    with BROKERS[kind](directory / kind) as address:
        yield address


def flags(address: str, name: str, directory: Path, **more: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings of a worker with topics and a directory of its own.

    `more` are further sections. Every list answers an event, whose time is measured.
    """
    return {
        "app_id": name,
        "kafka": {"bootstrap_servers": address, "session_timeout_seconds": 6},
        "topics": {"prefix": f"{name}-", "partitions": PARTITIONS},
        "state": {"directory": directory / name},
        "http": {"port": free_port()},
        "log": {"format": "json"},
        "recommendations": {"empty_catalogue": True, "refresh_hours": 0},
        **more,
    }


async def create_topics(chosen: Settings) -> None:
    """Make the topics of a worker."""
    await topics.create(client_settings(chosen.kafka), topics.plan(chosen))


@contextmanager
def worker(
    chosen: Mapping[str, Any], log: Path, command: Sequence[str] = WORKER
) -> Iterator[Worker]:
    """Run a worker with these settings in a process of its own.

    `command` are the interpreter's arguments.
    """
    with processes.worker(chosen, log, [sys.executable, *command]) as running:
        yield running


async def publish(chosen: Settings, topic: str, rows: Iterable[Row]) -> int:
    """Append rows to a topic as any client would partition them; returns how many."""
    client, count, waiting = client_settings(chosen.kafka), 0, list[Row]()
    async with kafka.publisher(client, PARTITIONS, "murmur2") as publisher:
        for row in rows:
            waiting.append(row)
            count += 1
            if len(waiting) == PUBLISHED_AT_ONCE:
                await publisher.send(topic, waiting)
                waiting.clear()
        await publisher.send(topic, waiting)
    return count


def settings(chosen: Mapping[str, Any]) -> Settings:
    """Nested settings as the worker reads them."""
    return load(chosen)
