"""Records on their way to the partition that their key has: `{app_id}-rekeyed`.

Pure. A record is re-keyed as it is; a first header says where it came from, so that what is made of
it (state, list, dead letter) names the original. Its position stays the original's: one that is
re-keyed twice, by a worker that was killed in between, counts once by the shopper's watermark of
that partition.
"""

from collections import defaultdict
from collections.abc import Container, Iterable
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from pprm.core.events import elsewhere
from worker.kafka.batches import Record
from worker.pipeline.codec import Decoded, Headers, Invalid
from worker.runtime.delivery import Row

FAMILY = "rekeyed"
HEADER = "pprm-source"
"""Topic, partition, offset, timestamp (Unix milliseconds), number of the log; colons between.

The log's number follows from the topic's id (KIP-516).
"""
MAX_HEADER_BYTES = 64 * 1024
_HEADER_OVERHEAD = 8


class Origin(NamedTuple):
    """The log that a record came from."""

    topic: str
    log: int


Refused: TypeAlias = list[tuple[Record, Invalid]]


def row(record: Record, log: int) -> Row:
    """What carries a record of a topic, whose log has this number, to another partition."""
    source = f"{record.topic}:{record.partition}:{record.offset}:{record.timestamp}:{log}"
    return Row(record.key, record.value, [(HEADER, source.encode()), *_bounded(record.headers)])


def _bounded(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    """The first of the headers, as many as are sure to fit beside the largest value."""
    kept: Headers = []
    room = MAX_HEADER_BYTES
    for name, value in headers:
        room -= 4 * len(name) + len(value or b"") + _HEADER_OVERHEAD
        if room < 0:
            break
        kept.append((name, value or b""))
    return kept


def originals(
    records: Iterable[Record], topics: Container[str]
) -> tuple[dict[Origin, list[Record]], Refused]:
    """Return re-keyed records as they were, by origin and in order; apart those of other topics."""
    found, refused = defaultdict[Origin, list[Record]](list), list[tuple[Record, Invalid]]()
    for record in records:
        read = _original(record)
        if read and read[0].topic in topics:
            found[read[0]].append(read[1])
        else:
            refused.append(
                (
                    record,
                    Invalid("schema", f"no worker wrote this: {HEADER} must be its first header"),
                )
            )
    return found, refused


def _original(record: Record) -> tuple[Origin, Record] | None:
    try:
        name, source = record.headers[0]
        topic, *numbers = (source or b"").decode().split(":")
        partition, offset, timestamp, log = map(int, numbers)
    except (IndexError, ValueError):
        return None
    if name != HEADER or not (
        0 <= partition < 1 << 31 and 0 <= offset < 1 << 48 and 0 <= log < 1 << 32
    ):
        return None
    headers = record.headers[1:]
    return Origin(topic, log), Record(
        topic,
        partition,
        offset,
        timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        headers,
    )


def from_elsewhere(decoded: Decoded | Invalid) -> Decoded | Invalid:
    """What a re-keyed record says, with the watermark that is for records of its partition."""
    if isinstance(decoded, Invalid):
        return decoded
    position = decoded.event.position
    moved = replace(position, source=elsewhere(position.source))
    return replace(decoded, event=replace(decoded.event, position=moved))
