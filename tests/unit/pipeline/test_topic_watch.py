"""What is told of the topics, and when the group is asked to look again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from worker.ops import metrics
from worker.ops.health import Health, ready
from worker.pipeline import topic_watch
from worker.runtime.commits import Note
from worker.runtime.metadata import Topic
from worker.settings import Settings

SETTINGS = Settings()
CHANGELOG = SETTINGS.changelog


def worker(doubts: set[str] = frozenset(), rebalancing: bool = False) -> tuple[Any, list[str]]:  # type: ignore[assignment]
    """A worker that reads purchases of topic 1 with changelog 9, and why it rejoined its group."""
    joined: list[str] = []
    consumer = SimpleNamespace(
        notes={("purchases", 0): Note(1, 1)}, doubts=set(doubts), rejoin=joined.append,
leave_alone=lambda topics: consumer.left_alone.append(topics), left_alone=[],
    )  # fmt: skip
    app = SimpleNamespace(
        keyed=frozenset({"purchases", "browses", "reviews", "users"}), partitions=4,
        consumer=consumer,
        consumer_or_none=consumer, rebalancing=rebalancing,
        tables=SimpleNamespace(recovery=SimpleNamespace(changelog=9, in_recovery=False)),
    )  # fmt: skip
    c = SimpleNamespace(
        settings=SETTINGS, app=app, health=Health(0.0, True), metrics=metrics.create(), topics={},
        may_answer=asyncio.Event(), catalogue_read=asyncio.Event(),
    )  # fmt: skip
    c.health.catalogue_read = True
    c.catalogue_read.set()
    return c, joined


def found(**changes: Topic | None) -> dict[str, Topic]:
    """The topics on the broker."""
    there = {name: Topic(1, 4) for name in topic_watch.names(worker()[0])}
    there[CHANGELOG] = Topic(9, 4)
    return {name: topic for name, topic in (there | changes).items() if topic}


def test_topics_as_they_should_be_are_no_news() -> None:
    c, joined = worker()
    topic_watch.look(c, found(products=Topic(1, 9)))
    assert ready(c.health, 0.0) == (True, "ok") and not joined


def test_what_is_missing_or_cut_otherwise_is_told_until_it_is_mended() -> None:
    c, joined = worker()
    topic_watch.look(c, found(reviews=None, browses=Topic(1, 6)))
    is_ready, said = ready(c.health, 0.0)
    assert not is_ready and "do not exist: reviews" in said and "browses has 6" in said
    value = c.metrics.registry.get_sample_value
    assert value("pprm_topic_missing", {"topic": "reviews"}) == 1
    assert value("pprm_topic_missing", {"topic": "users"}) == 0
    assert value("pprm_topic_partitions_differ", {"topic": "browses"}) == 1
    topic_watch.look(c, found())
    assert ready(c.health, 0.0)[0] and value("pprm_topic_missing", {"topic": "reviews"}) == 0
    assert value("pprm_topic_partitions_differ", {"topic": "browses"}) == 0
    assert not joined, "Kafka does this by itself"


def test_topics_that_have_grown_are_left_alone_at_once() -> None:
    """Their producers know of the new partitions before the group has assigned anew."""
    c, joined = worker()
    topic_watch.look(c, found(purchases=Topic(1, 6), browses=Topic(1, 6)))
    topic_watch.look(c, found())
    assert c.app.consumer.left_alone == [{"browses", "purchases"}, frozenset()]
    assert not joined, "Kafka does this by itself"


def test_the_group_looks_again_where_a_topic_is_another_one() -> None:
    for changes in ({"purchases": Topic(2, 4)}, {CHANGELOG: Topic(8, 4)}):
        c, joined = worker()
        topic_watch.look(c, found(**changes))
        assert len(joined) == 1 and next(iter(changes)) in joined[0]
        c, joined = worker(rebalancing=True)
        topic_watch.look(c, found(**changes))
        assert not joined, "it does already"


def test_what_was_doubted_is_read_again_when_it_is_there() -> None:
    c, joined = worker(doubts={"purchases"})
    topic_watch.look(c, found(purchases=None))
    assert not joined
    topic_watch.look(c, found())
    assert joined == ["to be read again: purchases"]


WRITTEN = [
    SETTINGS.topics.name("recommendations"), SETTINGS.topics.name("dead_letters"),
    SETTINGS.rekeyed_topic, CHANGELOG,
]  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_more_is_begun_while_it_could_not_be_written(name: str) -> None:
    c, _ = worker()
    topic_watch.look(c, found())
    assert c.may_answer.is_set()
    smaller = Topic(2, 3) if name != SETTINGS.topics.name("dead_letters") else None
    for there in (None, smaller):
        topic_watch.look(c, found(**{name: there}))
        is_ready, said = ready(c.health, 0.0)
        assert not is_ready and f"cannot write to {name}: all events wait in Kafka" in said
        assert not c.may_answer.is_set()
    topic_watch.look(c, found(**{name: Topic(9, 4)}))
    assert c.may_answer.is_set() and ready(c.health, 0.0)[0]


def test_a_topic_that_is_written_only_is_not_said_to_be_read() -> None:
    c, _ = worker()
    topic_watch.look(c, found(recommendations=Topic(1, 6)))
    said = ready(c.health, 0.0)[1]
    assert "recommendations has 6" in said and "read" not in said
    assert c.may_answer.is_set(), "it has all the partitions that are written to"


def test_events_wait_for_the_catalogue_whatever_becomes_of_the_topics() -> None:
    c, _ = worker()
    c.catalogue_read.clear()
    topic_watch.look(c, found(recommendations=None))
    topic_watch.look(c, found())
    assert not c.may_answer.is_set()


def test_producers_learn_of_partitions_before_anything_is_written_to_them() -> None:
    c, _ = worker()
    asked: list[bool] = []

    async def ask() -> None:
        asked.append(c.may_answer.is_set())

    c.app.delivery = SimpleNamespace(ask_for_partitions=ask)
    topic_watch.look(c, found())
    for there, times in ((found(), 0), (found(recommendations=Topic(2, 3)), 1), (found(), 2)):
        asyncio.run(topic_watch.see(c, there))
        assert len(asked) == times
    assert asked == [True, False]
