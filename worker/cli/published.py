"""What the topics of events hold already.

A backfill that is repeated publishes what is missing, and nothing twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from numpy.typing import NDArray

from schemas.families import EVENTS
from worker.kafka import reader
from worker.kafka.batches import Fetch
from worker.kafka.topics import TopicsError, partition_counts

BYTES = 16
"""Size of an event's hash: among 100 million, two are equal with a probability of 10^-22."""
STALLED_MS = 30_000


class Published:
    """The events of the topics, 16 bytes of each."""

    def __init__(self, known: bytes = b"") -> None:
        """`known` are `known_by` of all events, one after the other."""
        self._known: NDArray[Any] = np.sort(np.frombuffer(known, f"S{BYTES}"))

    def __len__(self) -> int:
        return len(self._known)

    def holds(self, events: Sequence[bytes]) -> list[bool]:
        """Whether each of these, `known_by`, is among them."""
        if not len(self._known):
            return [False] * len(events)
        wanted = np.array(events, f"S{BYTES}")
        at = np.minimum(np.searchsorted(self._known, wanted), len(self._known) - 1)
        found: list[bool] = (self._known[at] == wanted).tolist()
        return found


def known_by(family: str, fields: Mapping[str, Any]) -> bytes:
    """Make the identity of an event: id, shopper, product and kind.

    Lines of an order may share the order's id.
    """
    parts = (
        family,
        _kind(fields),
        *(str(fields.get(name)) for name in ("event_id", "user_id", "product_id")),
    )
    return blake2b("\0".join(parts).encode(), digest_size=BYTES).digest()


def _kind(fields: Mapping[str, Any]) -> str:
    quantity = fields.get("quantity")
    is_return = fields.get("kind") == "return" or (
        isinstance(quantity, int | float) and quantity < 0
    )
    return "return" if is_return else str(fields.get("action", ""))


async def require(
    client: Mapping[str, Any], topic_of: Callable[[str], str], families: Iterable[str]
) -> None:
    """Make sure that the topics exist.

    Raises:
        TopicsError: one does not.
    """
    names = [topic_of(family) for family in families]
    counts = await partition_counts(client, names)
    if missing := [name for name in names if not counts[name]]:
        raise TopicsError(
            f"{', '.join(missing)}: no such topic; run `pprm topics create`, or check topics.prefix"
        )


async def read(
    client: Mapping[str, Any],
    topic_of: Callable[[str], str],
    on_progress: Callable[[int, int], None],
    is_known: bool,
) -> Published:
    """Read the topics of events from their beginning to where they end now.

    Args:
        client: keyword arguments of an aiokafka client.
        topic_of: name of a family's topic.
        on_progress: called with the records read and their total.
        is_known: whether what the topics do not hold any more is known not to be published again.

    Raises:
        TopicsError: a topic has lost its beginning, and nobody knows what was in it.
    """
    family_of = {topic_of(family): family for family in EVENTS}
    consumer = reader.consumer(client, check_crcs=False)
    await consumer.start()
    try:
        counts = await partition_counts(client, list(family_of))
        partitions = [
            TopicPartition(name, number)
            for name, count in counts.items()
            for number in range(count)
        ]
        begins, ends = (
            await consumer.beginning_offsets(partitions),
            await consumer.end_offsets(partitions),
        )
        lost = sorted({tp.topic for tp in partitions if begins[tp]})
        if lost and not is_known:
            raise TopicsError(
                f"{', '.join(lost)}: the broker has deleted the oldest records, and what"
                " was among them would count twice if it is published again. Say from"
                " when on the events are new: --since 2026-03-01T00:00:00Z; everything,"
                " where nothing of it was ever published: --since 2000-01-01T00:00:00Z"
            )
        wanted = {tp: begins[tp] for tp in partitions if ends[tp] > begins[tp]}
        return Published(
            b"".join(await _read(consumer, wanted, ends, family_of, on_progress)) if wanted else b""
        )
    finally:
        await consumer.stop()


async def _read(
    consumer: AIOKafkaConsumer,
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    family_of: Mapping[str, str],
    on_progress: Callable[[int, int], None],
) -> list[bytes]:
    consumer.assign(list(begins))
    for tp, offset in begins.items():
        # by number: `seek_to_beginning` may lose against the reset at an assignment
        consumer.seek(tp, offset)
    known: list[bytes] = []
    left, total = set(begins), sum(ends[tp] for tp in begins)
    while left:
        fetched: Fetch = await consumer.getmany(*left, timeout_ms=STALLED_MS)
        chunk = [
            known_by(family_of[tp.topic], _fields(r.value))
            for tp, records in fetched.items()
            for r in records
        ]
        known.append(b"".join(chunk))
        at = {tp: await consumer.position(tp) for tp in left}
        if not fetched and all(at[tp] < ends[tp] for tp in left):
            names = ", ".join(sorted({tp.topic for tp in left}))
            raise TopicsError(
                f"{names}: nothing came for {STALLED_MS // 1000}"
                " s before the end; is the broker well?"
            )
        left -= {tp for tp in left if at[tp] >= ends[tp]}
        on_progress(total - sum(ends[tp] - at[tp] for tp in left), total)
    return known


def _fields(value: bytes | None) -> Mapping[str, Any]:
    """A record's fields; of one that is no event, which counts nowhere, none."""
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}
