"""What is logged of the topics, and when the group is asked to look again."""

import asyncio
from typing import Any

import pytest

from worker.ops import metrics
from worker.ops.health import Health, ready
from worker.pipeline.gate import Gate
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.topic_watch import TopicWatch
from worker.runtime.commits import Note
from worker.runtime.metadata import Topic
from worker.settings import Settings

SETTINGS = Settings()
CHANGELOG = SETTINGS.changelog


class Consumer:
    """Reads purchases of topic 1, and writes down why it joined its group again."""

    def __init__(self, doubts: set[str]) -> None:
        self.notes, self.doubts = {("purchases", 0): Note(1, 1)}, doubts
        self.joined: list[str] = []
        self.left_alone: list[frozenset[str]] = []

    def rejoin(self, why: str) -> None:
        self.joined.append(why)

    def leave_alone(self, topics: frozenset[str]) -> None:
        self.left_alone.append(topics)


class Recovery:
    """It has read changelog 9 back."""

    changelog, in_recovery = 9, False


class Tables:
    recovery = Recovery()


class Delivery:
    """Writes down whether events were answered when its producers had to ask for partitions."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.asked: list[bool] = []

    async def ask_for_partitions(self) -> None:
        self.asked.append(self.gate.is_open)


class App:
    """A runtime with four partitions."""

    keyed = frozenset({"purchases", "browses", "reviews", "users"})
    partitions, tables = 4, Tables()

    def __init__(self, doubts: set[str], rebalancing: bool, gate: Gate) -> None:
        self.consumer = self.consumer_or_none = Consumer(doubts)
        self.delivery, self.rebalancing = Delivery(gate), rebalancing


class Worker:
    """A worker whose catalogue is read."""

    def __init__(
        self,
        doubts: set[str] = frozenset(),  # type: ignore[assignment]
        rebalancing: bool = False,
        catalogue_read: bool = True,
    ) -> None:
        self.health, self.metrics = Health(0.0, True), metrics.create()
        self.gate, self.seen = Gate(self.health, answers_without_products=False), SeenTopics()
        self.app: Any = App(set(doubts), rebalancing, self.gate)
        if catalogue_read:
            self.gate.catalogue_is_read(available=1)
        self.watch = TopicWatch(SETTINGS, self.app, self.seen, self.gate, self.health, self.metrics)

    @property
    def joined(self) -> list[str]:
        """Why it rejoined its group."""
        why: list[str] = self.app.consumer.joined
        return why


def found(**changes: Topic | None) -> dict[str, Topic]:
    """The topics on the broker."""
    there = {name: Topic(1, 4) for name in Worker().watch.names}
    there[CHANGELOG] = Topic(9, 4)
    return {name: topic for name, topic in (there | changes).items() if topic}


def test_topics_as_they_should_be_are_no_news() -> None:
    worker = Worker()
    worker.watch.look(found(products=Topic(1, 9)))
    assert ready(worker.health, 0.0) == (True, "ok") and not worker.joined


def test_what_is_missing_or_cut_otherwise_is_reported_until_it_is_mended() -> None:
    worker = Worker()
    worker.watch.look(found(reviews=None, browses=Topic(1, 6)))
    is_ready, reason = ready(worker.health, 0.0)
    assert not is_ready and "do not exist: reviews" in reason and "browses has 6" in reason
    value = worker.metrics.registry.get_sample_value
    assert value("pprm_topic_missing", {"topic": "reviews"}) == 1
    assert value("pprm_topic_missing", {"topic": "users"}) == 0
    assert value("pprm_topic_partitions_differ", {"topic": "browses"}) == 1
    worker.watch.look(found())
    assert ready(worker.health, 0.0)[0] and value("pprm_topic_missing", {"topic": "reviews"}) == 0
    assert value("pprm_topic_partitions_differ", {"topic": "browses"}) == 0
    assert not worker.joined, "Kafka does this by itself"


def test_topics_that_have_grown_are_left_alone_at_once() -> None:
    """Their producers know of the new partitions before the group has assigned anew."""
    worker = Worker()
    worker.watch.look(found(purchases=Topic(1, 6), browses=Topic(1, 6)))
    worker.watch.look(found())
    assert worker.app.consumer.left_alone == [{"browses", "purchases"}, frozenset()]
    assert not worker.joined, "Kafka does this by itself"


def test_the_group_looks_again_where_a_topic_is_another_one() -> None:
    for changes in ({"purchases": Topic(2, 4)}, {CHANGELOG: Topic(8, 4)}):
        worker = Worker()
        worker.watch.look(found(**changes))
        assert len(worker.joined) == 1 and next(iter(changes)) in worker.joined[0]
        worker = Worker(rebalancing=True)
        worker.watch.look(found(**changes))
        assert not worker.joined, "it does already"


def test_what_was_doubted_is_read_again_when_it_is_there() -> None:
    worker = Worker(doubts={"purchases"})
    worker.watch.look(found(purchases=None))
    assert not worker.joined
    worker.watch.look(found())
    assert worker.joined == ["to be read again: purchases"]


WRITTEN = [
    SETTINGS.topics.name("recommendations"), SETTINGS.topics.name("dead_letters"),
    SETTINGS.rekeyed_topic, CHANGELOG,
]  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_more_is_begun_while_it_could_not_be_written(name: str) -> None:
    worker = Worker()
    worker.watch.look(found())
    assert worker.gate.is_open
    smaller = Topic(2, 3) if name != SETTINGS.topics.name("dead_letters") else None
    for there in (None, smaller):
        worker.watch.look(found(**{name: there}))
        is_ready, reason = ready(worker.health, 0.0)
        assert not is_ready and f"cannot write to {name}: all events wait in Kafka" in reason
        assert not worker.gate.is_open
    worker.watch.look(found(**{name: Topic(9, 4)}))
    assert worker.gate.is_open and ready(worker.health, 0.0)[0]


def test_a_topic_that_is_written_only_is_not_said_to_be_read() -> None:
    worker = Worker()
    worker.watch.look(found(recommendations=Topic(1, 6)))
    reason = ready(worker.health, 0.0)[1]
    assert "recommendations has 6" in reason and "read" not in reason
    assert worker.gate.is_open, "it has all the partitions that are written to"


def test_events_wait_for_the_catalogue_whatever_becomes_of_the_topics() -> None:
    worker = Worker(catalogue_read=False)
    worker.watch.look(found(recommendations=None))
    worker.watch.look(found())
    assert not worker.gate.is_open


def test_producers_learn_of_partitions_before_anything_is_written_to_them() -> None:
    worker = Worker()
    worker.watch.look(found())
    asked = worker.app.delivery.asked
    for there, times in ((found(), 0), (found(recommendations=Topic(2, 3)), 1), (found(), 2)):
        asyncio.run(worker.watch.see(there))
        assert len(asked) == times
    assert asked == [True, False]
