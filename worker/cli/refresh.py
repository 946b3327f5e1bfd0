"""`pprm refresh` sends a request for each shopper.

There are never many more on their way than the workers have just answered.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata
from rich.console import Console

from pprm.data.files import counting
from pprm.state import user_state
from pprm.state.user_state import StateError
from worker.cli.send import compose
from worker.kafka import reader
from worker.kafka.partitioner import producer_settings
from worker.kafka.topics import TopicsError, partition_counts, require_there
from worker.runtime import changelog
from worker.settings import Settings, client_settings

CHUNK = 100
"""Requests sent at once."""
LEAST_WAITING = 200
LOOK_SECONDS = 0.25
STALLED_SECONDS = 60.0


def moment(settings: Settings, text: str | None) -> datetime:
    """Read the time as of which lists are wanted.

    Raises:
        ValueError: it is none, lies ahead, or in the past that is not answered.
    """
    now = datetime.now(UTC)
    at = now if text is None else datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"--at {text} has no time zone: end it with Z for UTC")
    if at > now:
        raise ValueError(
            f"--at {text} lies ahead: a worker answers what is, at most {now.isoformat()}"
        )
    if (score_from := settings.recommendations.score_from) and at < score_from:
        raise ValueError(
            f"nothing before recommendations.score_from ({score_from.isoformat()}) is answered"
        )
    return at


async def run(
    settings: Settings, users: Sequence[str], every: bool, at: datetime, console: Console
) -> None:
    """Ask for the lists of these shoppers, or of all whom a state knows, and await them.

    Raises:
        ValueError: nobody was named, or an id is none.
        TopicsError: a topic is missing, or nobody answers.
    """
    if every == bool(users):
        raise ValueError("name shoppers, or --all for every one whom the worker knows")
    client, topic = client_settings(settings.kafka), settings.topics.name("requests")
    require_there(counts := await partition_counts(client, [topic, settings.changelog]))
    keys = list(dict.fromkeys(users))
    if every:
        keys = await _known(client, settings.changelog, counts[settings.changelog], console)
    occurred_at = at.isoformat()
    partitions = [TopicPartition(topic, number) for number in range(counts[topic])]
    producer = AIOKafkaProducer(acks="all", linger_ms=5, **producer_settings(settings))
    async with producer, reader.consumer(client, group_id=settings.app_id) as group:
        group.assign(partitions)
        pace = Pace(group)
        with counting(console, "asking for lists") as on_progress:
            for start in range(0, len(keys), CHUNK):
                while pace.waiting >= pace.most:
                    await pace.look()
                    on_progress(max(start - pace.waiting, 0), len(keys))
                sent = []
                for key in keys[start : start + CHUNK]:
                    m = compose("requests", {"user_id": key, "occurred_at": occurred_at})
                    sent.append(await producer.send(topic, m.value, m.key, headers=m.headers))
                pace.note(await asyncio.gather(*sent))
            while pace.waiting:
                await pace.look()
                on_progress(max(len(keys) - pace.waiting, 0), len(keys))
    console.print(f"{len(keys):,} requests answered, as of {occurred_at}", highlight=False)


async def _known(
    client: Mapping[str, Any], topic: str, partitions: int, console: Console
) -> list[str]:
    """Return the shoppers of whom a state knows something.

    Those who were forgotten are left out.
    """
    known: set[bytes] = set()
    with counting(console, "reading who is known") as on_progress:
        for number in range(partitions):
            here: set[bytes] = set()  # who was forgotten in one partition may be known in another
            async for records in changelog.to_the_end(client, TopicPartition(topic, number)):
                for record in records:
                    if record.key is not None:
                        known_of = here.add if _knows_something(record.value) else here.discard
                        known_of(record.key)
            known |= here
            on_progress(number + 1, partitions)
    return sorted(key.decode() for key in known)


def _knows_something(value: bytes | None) -> bool:
    try:
        return value is not None and user_state.decode(value).active_at > 0
    except StateError:
        return False


class Pace:
    """How many requests wait for an answer, and how many may.

    About as many may as are answered between two commits. More would keep the shoppers' own events
    waiting; fewer would leave the workers idle.
    """

    def __init__(self, group: AIOKafkaConsumer) -> None:
        self._group, self._ends = group, dict[TopicPartition, int]()
        self.waiting, self.most = 0, LEAST_WAITING
        self._moved = monotonic()

    def note(self, sent: Iterable[RecordMetadata]) -> None:
        """Count requests that the broker holds."""
        for record in sent:
            tp = TopicPartition(record.topic, record.partition)
            self._ends[tp] = max(self._ends.get(tp, 0), record.offset + 1)
            self.waiting += 1

    async def look(self) -> None:
        """Wait a moment, and see how far the workers have come.

        Raises:
            TopicsError: nothing was answered for a minute.
        """
        await asyncio.sleep(LOOK_SECONDS)
        done = {tp: await self._group.committed(tp) or 0 for tp in self._ends}
        waiting = sum(max(0, end - done[tp]) for tp, end in self._ends.items())
        if waiting < self.waiting:
            answered = self.waiting - waiting
            self.most = max(LEAST_WAITING, answered if waiting else 2 * answered)
            self._moved = monotonic()
        elif monotonic() > self._moved + STALLED_SECONDS:
            raise TopicsError(
                f"nobody has answered for {STALLED_SECONDS:.0f} s: is a worker running, and ready"
                f" (/ready)? {waiting:,} requests wait in Kafka and are answered by the next one."
            )
        self.waiting = waiting
