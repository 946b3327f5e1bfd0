"""Records that lie in another partition than their key has: counted, or re-keyed.

And who has to be forgotten where.
"""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from pprm.core.events import SOURCES, elsewhere, topic_of
from tests.unit.pipeline.fakes import LOG, FixedOwnership
from worker.kafka.batches import Record
from worker.kafka.partitioner import partition_of
from worker.ops import metrics
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.pipeline import codec, rekeying
from worker.pipeline.decoding import Decoder
from worker.pipeline.model import Model
from worker.pipeline.rekeying import FAMILY, Origin
from worker.pipeline.routing import Read, Router
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.work import Work
from worker.runtime.metadata import Topic
from worker.settings import Partitioner, Topics

PARTITIONS = 4
AT = 1_500_000_000.0
USERS = [f"u{i}" for i in range(40)]
TOPICS = ("purchases", "browses", "reviews", "users", "products")
REKEYED = "pprm-rekeyed"


class Worker:
    """What decodes and routes in a worker."""

    def __init__(self, partitioner: Partitioner, partitions: int = PARTITIONS) -> None:
        self.metrics: Metrics = metrics.create(topics=TOPICS)
        ownership, seen = FixedOwnership(partitions=partitions), SeenTopics()
        seen.note({"products": Topic(1, 3)})
        self.router = Router(
            Topics(partitioner=partitioner), REKEYED, ownership, seen, self.metrics
        )
        families = {topic: topic for topic in TOPICS} | {REKEYED: FAMILY}
        self.decoder = Decoder(families, ownership, Model(Health()), self.router, self.metrics)

    def route(self, partition: int, *records: Record) -> Work:
        """A micro-batch of one topic."""
        work, topic = Work(), records[0].topic
        decoded = codec.decode_all(topic, records, AT, None, LOG)
        self.router.route(work, partition, Read(Origin(topic, LOG), True, records, decoded))
        return work

    def arrive(self, target: int, rows: list[Any], first: int = 0) -> Work:
        """The micro-batch of rows that another worker has sent here."""
        work, at = Work(), int(AT * 1000) + 9
        records = [
            Record(REKEYED, target, first + i, at, 0, row.key, row.value, tuple(row.headers))
            for i, row in enumerate(rows)
        ]
        self.decoder.decode_rekeyed(work, target, records, AT, codec.Mended(int))
        return work


def record(
    topic: str, partition: int, offset: int, user: str, value: bytes | None, headers: Any = ()
) -> Record:
    return Record(topic, partition, offset, int(AT * 1000), 0, user.encode(), value, headers)


def purchase(user: str, partition: int, offset: int) -> Record:
    value = {
        "event_id": f"e{offset}",
        "user_id": user,
        "product_id": "p",
        "occurred_at": "2017-01-01T00:00:00Z",
    }
    return record(
        "purchases", partition, offset, user, orjson.dumps(value), (("traceparent", b"00-1"),)
    )


def rekeyed(work: Work, partition: int, topic: str = REKEYED) -> dict[int, list[Any]]:
    """Rows by where they go to."""
    return {
        target: rows for (name, target), rows in work.rows[str(partition)].items() if name == topic
    }


def home(user: str) -> int:
    return partition_of("murmur2", user.encode(), PARTITIONS)


def count(counter: Any, topic: str) -> float:
    return float(counter.labels(topic)._value.get())


@pytest.mark.parametrize("partitioner", ["murmur2", "consistent_random"])
def test_events_elsewhere_are_counted_and_the_first_is_logged(partitioner: Partitioner) -> None:
    worker, records = (
        Worker(partitioner),
        [purchase(user, 1, offset) for offset, user in enumerate(USERS * 2)],
    )
    away = [user for user in USERS if partition_of(partitioner, user.encode(), PARTITIONS) != 1]
    with capture_logs() as lines:
        work = worker.route(1, *records)
    assert sum(len(shopper.events) for shopper in work.shoppers) == len(records) and not work.rows
    assert 0 < len(away) < len(USERS) and count(
        worker.metrics.events_misplaced, "purchases"
    ) == 2 * len(away)
    (line,) = lines
    assert line["topic"] == "purchases" and "partitioner=murmur2_random" in line["event"]
    assert not any(user in str(line) for user in USERS)


def test_products_are_counted_by_the_partitions_of_their_own_topic() -> None:
    worker, keys = Worker("murmur2"), [f"p{i}".encode() for i in range(20)]
    records = [SimpleNamespace(key=key) for key in (*keys, None, b"")]
    worker.router.count_misplaced_products("products", 2, records)
    assert (
        count(worker.metrics.events_misplaced, "products")
        == sum(partition_of("murmur2", k, 3) != 2 for k in keys)
        > 0
    )


def test_with_any_what_lies_elsewhere_comes_to_the_keys_partition_as_it_was() -> None:
    worker, records = (
        Worker("any"),
        [purchase(user, 1, offset) for offset, user in enumerate(USERS * 2)],
    )
    work = worker.route(1, *records)
    assert {s.key.decode() for s in work.shoppers} == {user for user in USERS if home(user) == 1}
    rows = rekeyed(work, 1)
    assert rows.keys() == {0, 2, 3} and count(worker.metrics.events_misplaced, "purchases") == 0
    assert count(worker.metrics.events_rekeyed, "purchases") == sum(map(len, rows.values())) > 20
    there = worker.arrive(2, rows[2])
    assert {s.key.decode() for s in there.shoppers} == {user for user in USERS if home(user) == 2}
    for shopper in there.shoppers:
        last, decoded = shopper.last
        assert shopper.partition == 2 and last == records[last.offset]
        assert (
            decoded.event.position.partition == 1 and decoded.event.position.offset == last.offset
        )
        assert decoded.event.position.source == elsewhere(SOURCES.index("purchases"))
        assert decoded.event.position.log == LOG


def test_what_cannot_be_read_is_refused_where_it_lies() -> None:
    worker, lost = Worker("any"), next(user for user in USERS if home(user) != 1)
    work = worker.route(1, record("purchases", 1, 5, lost, b"{"))
    (refused,) = work.refused
    assert (
        not work.rows
        and refused.partition == 1
        and refused.record.offset == 5
        and refused.invalid.reason == "json"
    )


@pytest.mark.parametrize("partitioner", ["murmur2", "consistent_random", "any"])
def test_a_shopper_is_forgotten_in_every_partition(partitioner: Partitioner) -> None:
    worker, ann = Worker(partitioner), "ann"
    for partition in range(PARTITIONS):
        work = worker.route(partition, record("users", partition, 5, ann, None))
        assert [s.key for s in work.shoppers] == [b"ann"]
        rows = rekeyed(work, partition)
        assert rows.keys() == set(range(PARTITIONS)) - {partition}
        for target, sent in rows.items():
            there = worker.arrive(target, sent)
            assert [(s.key, s.events[-1].text) for s in there.shoppers] == [(b"ann", None)]  # type: ignore[union-attr]
            further = {new for new in rekeyed(there, target) if partitioner != "consistent_random"}
            assert further <= {home(ann)} - {target, partition}


def test_what_was_on_its_way_when_partitions_were_added_goes_on_and_comes_to_rest() -> None:
    before, after = Worker("any"), Worker("any", partitions=6)
    moved = next(u for u in USERS if home(u) not in (1, partition_of("murmur2", u.encode(), 6)))
    target = partition_of("murmur2", moved.encode(), 6)
    work = before.route(1, purchase(moved, 1, 4))
    (sent,) = rekeyed(work, 1).values()
    on_its_way = after.arrive(home(moved), sent)
    assert not on_its_way.shoppers
    arrived = after.arrive(target, rekeyed(on_its_way, home(moved))[target])
    (shopper,) = arrived.shoppers
    assert shopper.last[0] == purchase(moved, 1, 4) and not arrived.rows


def test_headers_are_bounded_and_what_no_worker_wrote_is_refused() -> None:
    worker = Worker("any")
    sent = rekeying.row(
        record("users", 1, 2, "ann", b"x", [("a", b"y" * 60_000), ("b", None)] * 9), LOG
    )
    assert sum(len(n) + len(v or b"") for n, v in sent.headers) < 80_000
    nonsense = [(), (("pprm-source", b"users:1:2"),), (("pprm-source", b"products:1:2:3:4"),),
                (("other", b"users:1:2:3:4"),), (("pprm-source", b"users:1:-2:3:4"),),
                (("pprm-source", None),)]  # fmt: skip
    work = worker.arrive(
        2, [SimpleNamespace(key=b"ann", value=b"{}", headers=headers) for headers in nonsense]
    )
    assert not work.shoppers and [r.partition for r in work.refused] == [2] * len(nonsense)
    assert {r.invalid.reason for r in work.refused} == {"schema"} and work.refused[
        0
    ].record.topic == "pprm-rekeyed"


def test_an_event_that_was_rekeyed_is_known_by_its_id_in_its_own_topic() -> None:
    for source, name in enumerate(SOURCES):
        assert SOURCES[topic_of(elsewhere(source))] == SOURCES[topic_of(source)] == name
