"""Fetch sessions against a broker that keeps them as KIP-227 says, and what goes over the wire."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v7, FetchRequest_v11
from aiokafka.protocol.metadata import MetadataRequest
from hypothesis import given
from hypothesis import strategies as st

from worker.runtime.fetch_sessions import (
    LAST_EPOCH,
    Positions,
    Session,
    SessionRequest,
    Sessions,
    install,
)

NOT_FOUND, INVALID_EPOCH = 70, 71
TPS = [("a", 0), ("a", 1), ("b", 0)]


class Broker:
    """Sessions as a broker keeps them.

    What each fetches, and the epoch that its next request must have.
    """

    def __init__(self, keeps: bool = True) -> None:
        self.keeps, self.sessions, self.epochs, self.made = (
            keeps,
            dict[int, Positions](),
            dict[int, int](),
            0,
        )

    def fetch(self, asked: SessionRequest) -> tuple[int, int, Positions]:
        """Error, session's id, and what is fetched."""
        if asked.epoch == 0:
            self.sessions.pop(asked.id, None)
            if not self.keeps:
                return 0, 0, asked.changed
            self.made += 1
            self.sessions[self.made], self.epochs[self.made] = dict(asked.changed), 1
            return 0, self.made, self.sessions[self.made]
        if asked.id not in self.sessions:
            return NOT_FOUND, 0, {}
        if asked.epoch != self.epochs[asked.id]:
            return INVALID_EPOCH, 0, {}
        self.epochs[asked.id] += 1
        kept = self.sessions[asked.id]
        for tp in asked.forgotten:
            del kept[tp]
        kept |= asked.changed
        return 0, asked.id, kept


POSITIONS = st.dictionaries(st.sampled_from(TPS), st.tuples(st.integers(0, 3), st.just(100)))
FATES = st.sampled_from(["answered", "answered", "lost on the way", "answer lost", "broker forgot"])


@given(st.lists(st.tuples(POSITIONS, FATES)), st.booleans())
def test_the_broker_fetches_what_is_wanted_whatever_gets_lost(
    steps: list[tuple[Positions, str]], keeps: bool
) -> None:
    broker, session, unheard = Broker(keeps), Session(), 0
    for wanted, fate in steps:
        if fate == "broker forgot":
            broker.sessions.clear()
        asked = session.ask(wanted)
        if fate == "lost on the way":
            continue
        error, number, fetched = broker.fetch(asked)
        assert error or fetched == wanted
        assert error in (0, NOT_FOUND if fate == "broker forgot" else 0)
        if fate == "answer lost":
            unheard += not asked.epoch
        elif not error:
            session.answered(asked, number)
    assert len(broker.sessions) <= 1 + unheard, (
        "what begins anew ends the session before, if its id was told"
    )


def test_a_request_names_only_what_changed() -> None:
    session = Session()
    for wanted, changed, forgotten in [
        ({TPS[0]: (5, 9), TPS[1]: (7, 9)}, {TPS[0]: (5, 9), TPS[1]: (7, 9)}, []),
        ({TPS[0]: (5, 9), TPS[1]: (8, 9)}, {TPS[1]: (8, 9)}, []),
        ({TPS[0]: (5, 9), TPS[2]: (1, 9)}, {TPS[2]: (1, 9)}, [TPS[1]]),
        ({TPS[0]: (5, 9), TPS[2]: (1, 9)}, {}, []),
    ]:
        asked = session.ask(wanted)
        assert (asked.changed, asked.forgotten) == (changed, forgotten)
        session.answered(asked, 4)


def test_epochs_begin_again_at_one() -> None:
    session = Session(id=4, epoch=LAST_EPOCH)
    session.answered(session.ask({}), 4)
    assert session.epoch == 1


def whole(*offsets: int) -> FetchRequest:
    """aiokafka's request for these offsets of topic a's partitions."""
    return FetchRequest(
        20, 1, 1000, 1, [("a", [(p, offset, 100) for p, offset in enumerate(offsets)])], "rack"
    )


class Client:
    """Answers as a broker of some version."""

    def __init__(self, version: Any = FetchRequest_v11, session: int = 7) -> None:
        self.version, self.session, self.error = version, session, 0
        self.sent: list[Any] = []
        self.doubts: list[str] = []
        self.topics: list[Any] = []

    async def send(self, _: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            self.sent.append((request, options))
            return None
        made = request.build(self.version)
        assert made.encode()
        self.sent.append(made)
        if self.error == -1:
            raise KafkaConnectionError
        return SimpleNamespace(
            API_VERSION=self.version.API_VERSION,
            session_id=self.session,
            error_code=self.error,
            topics=self.topics,
        )


def partitions(request: Any) -> list[tuple[int, int]]:
    """Partition and offset named."""
    at = 2 if request.API_VERSION >= 9 else 1
    return [(part[0], part[at]) for _, parts in request.topics for part in parts]


def send_all(client: Client, *requests: Any) -> None:
    async def story() -> None:
        sessions = Sessions(client, client.doubts.append)
        for request in requests:
            await sessions.send(1, request)

    asyncio.run(story())


@pytest.mark.parametrize("version", [FetchRequest_v7, FetchRequest_v11])
def test_over_the_wire(version: Any) -> None:
    client = Client(version)
    send_all(client, whole(5, 7), whole(5, 8), whole(5))
    assert [
        (r.session_id, r.session_epoch, partitions(r), r.forgotten_topics_data) for r in client.sent
    ] == [
        (0, 0, [(0, 5), (1, 7)], []),
        (7, 1, [(1, 8)], []),
        (7, 2, [], [("a", [1])]),
    ]


def test_an_old_broker_is_asked_for_everything_each_time() -> None:
    client = Client(FetchRequest_v4)
    send_all(client, whole(5, 7), whole(5, 8))
    assert [partitions(request) for request in client.sent] == [[(0, 5), (1, 7)], [(0, 5), (1, 8)]]


def test_a_broker_without_sessions_is_asked_for_everything_each_time() -> None:
    client = Client(session=0)
    send_all(client, whole(5, 7), whole(5, 8))
    assert [(r.session_epoch, partitions(r)) for r in client.sent] == [
        (0, [(0, 5), (1, 7)]),
        (0, [(0, 5), (1, 8)]),
    ]


@pytest.mark.parametrize("error", [NOT_FOUND, INVALID_EPOCH, -1])
def test_after_an_error_a_new_session_begins_and_the_old_one_is_ended(error: int) -> None:
    async def story() -> list[Any]:
        client = Client()
        sessions = Sessions(client, client.doubts.append)
        await sessions.send(1, whole(5, 7))
        client.error = error
        try:
            await sessions.send(1, whole(5, 8))
        except KafkaConnectionError:
            assert error == -1
        client.error = 0
        await sessions.send(1, whole(5, 8))
        return client.sent[-1:]

    (request,) = asyncio.run(story())
    assert (request.session_id, request.session_epoch, partitions(request)) == (
        7,
        0,
        [(0, 5), (1, 8)],
    )


def test_brokers_have_sessions_of_their_own_and_other_requests_pass() -> None:
    async def story() -> list[Any]:
        client = Client()
        consumer = SimpleNamespace(_client=client)
        install(consumer, client.doubts.append)
        await consumer._client.send(1, whole(5))
        await consumer._client.send(2, whole(6))
        await consumer._client.send(1, MetadataRequest([]), group=3)
        return client.sent

    first, second, (other, options) = asyncio.run(story())
    assert first.session_epoch == second.session_epoch == 0
    assert isinstance(other, MetadataRequest) and options == {"group": 3}


def test_a_topic_that_is_away_or_lacks_the_offset_is_told() -> None:
    client = Client()
    client.topics = [
        ("a", [(0, 0, 9), (1, 1, -1)]),
        ("b", [(0, 0, 9)]),
        ("c", [(0, 3, -1)]),
        ("d", [(0, 6, -1)]),
    ]
    send_all(client, whole(5))
    assert client.doubts == ["a", "c"], "not for a leader that moved"
