"""Records that lie in another partition than their key has: counted per topic, and told once."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from worker import codec, metrics, routing
from worker.partitioner import partition_of
from worker.settings import Partitioner, load
from worker.work import Work

PARTITIONS = 4
AT = 1_500_000_000.0


def components(partitioner: Partitioner) -> Any:
    topics = ["purchases", "browses", "reviews", "users", "products"]
    return SimpleNamespace(
        settings=load({"topics": {"partitioner": partitioner}}), partitions=PARTITIONS, product_partitions=3,
        metrics=metrics.create(topics=topics), misplaced=set(),
    )  # fmt: skip


def purchase(user: str, partition: int, offset: int) -> Any:
    said = {"event_id": f"e{offset}", "user_id": user, "product_id": "p", "occurred_at": "2017-01-01T00:00:00Z"}
    return SimpleNamespace(
        topic="purchases", partition=partition, offset=offset, timestamp=0, key=user.encode(), headers=(),
        value=orjson.dumps(said),
    )  # fmt: skip


def count(c: Any, topic: str) -> float:
    return float(c.metrics.events_misplaced.labels(topic)._value.get())


@pytest.mark.parametrize("partitioner", ["murmur2", "consistent_random"])
def test_events_elsewhere_are_counted_and_the_first_is_told(partitioner: Partitioner) -> None:
    c, work = components(partitioner), Work()
    users = [f"u{i}" for i in range(40)]
    away = [u for u in users if partition_of(partitioner, u.encode(), PARTITIONS) != 1]
    records = [purchase(user, 1, 2 * n + i) for n, user in enumerate(users) for i in range(2)]
    work.receive(1, records, codec.decode_all("purchases", records, AT))
    with capture_logs() as said:
        routing.count_misplaced(c, work)
        routing.count_misplaced(c, work)
    assert 0 < len(away) < len(users) and count(c, "purchases") == 2 * 2 * len(away) and count(c, "browses") == 0
    (line,) = said
    assert line["topic"] == "purchases" and "partitioner=murmur2_random" in line["event"]
    assert not any(user in str(line) for user in users)


def test_products_are_counted_by_the_partitions_of_their_own_topic() -> None:
    c, keys = components("murmur2"), [f"p{i}".encode() for i in range(20)]
    records = [SimpleNamespace(key=key) for key in (*keys, None, b"")]
    routing.count_misplaced_products(c, "products", 2, records)
    assert count(c, "products") == sum(partition_of("murmur2", key, 3) != 2 for key in keys) > 0
