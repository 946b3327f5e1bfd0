"""How large a message each topic takes, asked at the start.

What is written is bounded by it, and must have room.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pprm.catalogue import popularity
from pprm.state import user_state
from worker.kafka import topics
from worker.pipeline import codec, letters, rekeying
from worker.runtime.delivery import DEFAULT_LIMIT
from worker.settings import Settings

AROUND = 1024
"""Bytes around a value at most, where nobody else chooses them: key, our own headers, the batch."""


async def read(client: Mapping[str, Any], settings: Settings) -> dict[str, int]:
    """Return the size of the largest batch that each topic takes to which a worker writes.

    Raises:
        worker.kafka.topics.TopicsError: one takes less than we may have to write; it says how much
        that is.
    """
    needed = largest(settings)
    limits = await of(client, needed)
    for topic, most in needed.items():
        if limits[topic] < most:
            raise topics.TopicsError(
                f"the topic {topic} takes messages of {limits[topic]} bytes,"
                f" the worker writes up to {most}: raise its max.message.bytes"
            )
    return limits


def largest(settings: Settings) -> dict[str, int]:
    """Return the size of the largest row that is written to each topic.

    Dead letters are cut to the room there is.
    """
    return {
        settings.changelog: user_state.MAX_BYTES + AROUND,
        settings.rekeyed_topic: codec.MAX_VALUE_BYTES + rekeying.MAX_HEADER_BYTES + AROUND,
        settings.topics.name("recommendations"): codec.largest_list(settings.recommendations.k),
        settings.topics.name("dead_letters"): letters.SMALLEST_LIMIT,
        settings.popularity_topic: popularity.MAX_SNAPSHOT_BYTES + AROUND,
    }


async def of(client: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Each topic's own limit; Kafka's default where the broker does not tell."""
    wanted = list(names)
    set_there = await topics.configurations(client, wanted, "max.message.bytes")
    return {name: int(set_there.get(name, DEFAULT_LIMIT)) for name in wanted}
