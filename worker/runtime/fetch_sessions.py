"""Fetch sessions (KIP-227) for aiokafka.

The broker remembers what a consumer fetches, and each request names only changes.

Without, every fetch names all partitions and every answer does, too: with five topics of eight
partitions, of which a few have new records, most of what a consumer does is to encode and decode
the others, and the broker checks each.
https://cwiki.apache.org/confluence/display/KAFKA/KIP-227%3A+Introduce+Incremental+FetchRequests+to+Increase+Partition+Scalability
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from aiokafka.protocol.fetch import FetchRequest

from worker.runtime.ledger import TopicPartition

Positions: TypeAlias = dict[TopicPartition, tuple[int, int]]
"""Per partition the offset to fetch from and the most bytes."""
FIRST_VERSION = 7
"""First version of the fetch request that has sessions."""
LAST_EPOCH = 2**31 - 1
OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC = 1, 3


class SessionRequest(NamedTuple):
    """What one request of a session says to the broker."""

    id: int
    epoch: int
    """0: a new session in which all partitions are named, in place of the one of this id."""
    changed: Positions
    forgotten: list[TopicPartition]


@dataclass(slots=True)
class Session:
    """What one broker remembers of us. Pure: no I/O."""

    id: int = 0
    epoch: int = 0
    known: Positions = field(default_factory=dict)

    def ask(self, wanted: Positions) -> SessionRequest:
        """Make the next request.

        Whatever becomes of it, the one after begins a new session, unless `answered` comes.
        """
        epoch, known = self.epoch, self.known
        self.epoch, self.known = 0, wanted
        if not epoch:
            return SessionRequest(self.id, 0, wanted, [])
        changed = {tp: at for tp, at in wanted.items() if known.get(tp) != at}
        return SessionRequest(self.id, epoch, changed, [tp for tp in known if tp not in wanted])

    def answered(self, asked: SessionRequest, session: int) -> None:
        """Note the broker's answer with the session's id, 0 where it keeps none."""
        self.id = session
        if session:
            self.epoch = asked.epoch + 1 if asked.epoch < LAST_EPOCH else 1


class _Request(FetchRequest):  # type: ignore[misc]
    """A fetch request of a session."""

    def __init__(self, whole: FetchRequest, asked: SessionRequest) -> None:
        self.__dict__.update(whole.__dict__)
        self._asked = asked
        self._topics = _by_topic(
            (topic, (partition, *at)) for (topic, partition), at in asked.changed.items()
        )

    def build(self, version: Any) -> Any:
        """Make the request as aiokafka does, with the session's fields.

        A version without sessions leaves them out.
        """
        made = super().build(version)
        made.session_id, made.session_epoch = self._asked.id, self._asked.epoch
        made.forgotten_topics_data = _by_topic(self._asked.forgotten)
        return made


class Sessions:
    """Sessions with all brokers, between an aiokafka consumer and its client."""

    def __init__(self, client: Any, doubt: Callable[[str], None]) -> None:
        self._send, self._doubt = client.send, doubt
        self._sessions = defaultdict[int, Session](Session)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        """As the client's `send`; a fetch goes out as part of its broker's session."""
        if not isinstance(request, FetchRequest):
            return await self._send(node, request, **options)
        session = self._sessions[node]
        wanted = {
            (topic, p): (offset, size)
            for topic, parts in request.topics
            for p, offset, size in parts
        }
        asked = session.ask(wanted)
        response = await self._send(node, _Request(request, asked), **options)
        if response.API_VERSION >= FIRST_VERSION and not response.error_code:
            session.answered(asked, response.session_id)
        for topic, partitions in response.topics:
            if any(
                partition[1] in (OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC) for partition in partitions
            ):
                self._doubt(topic)
        return response


def install(consumer: Any, doubt: Callable[[str], None]) -> None:
    """Have an aiokafka consumer that has not started fetch in sessions.

    It has no setting for it. `doubt` is called with a topic that does not exist any more, or whose
    log does not hold the offset that was asked for: aiokafka would silently go on from the log's
    beginning.
    """
    consumer._client.send = Sessions(consumer._client, doubt).send


def _by_topic(partitions: Iterable[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    found = defaultdict[str, list[Any]](list)
    for topic, partition in partitions:
        found[topic].append(partition)
    return list(found.items())
