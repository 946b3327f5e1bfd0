"""Dead letters: the original bytes, why and whence.

They fit into the topic, whatever the original was.

A row that does not fit ends the worker, at every restart. So what may be cut is cut here, by what
the row will take in Kafka's log: key, headers and value, each to a share of the room; a header says
how long it was, and its SHA-256.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

from worker.kafka.batches import Record
from worker.pipeline.codec import Headers, Invalid
from worker.runtime.delivery import DEFAULT_LIMIT, Row, row_bytes

OwnHeaders: TypeAlias = dict[str, str | int]
"""The headers that a dead letter gets from us, by name."""

MAX_VALUE_BYTES = 1 << 20
MAX_HEADER_BYTES = 64 * 1024
MAX_KEY_BYTES = 64 * 1024
SMALLEST_LIMIT = 16 * 1024
"""Of the topic's `max.message.bytes`: our own headers fit, and some of the original."""


def dead_letter(record: Record, invalid: Invalid, limit: int = DEFAULT_LIMIT) -> Row:
    """A dead letter of a record that takes at most `limit` bytes in the log."""
    own: OwnHeaders = {
        "reason": invalid.reason,
        "detail": invalid.detail,
        "stage": invalid.stage,
        "source_topic": record.topic,
        "source_partition": record.partition,
        "source_offset": record.offset,
        "source_timestamp_ms": record.timestamp,
    }
    return _fitting(record.key, record.value, own, record.headers, limit)


def damaged_state(
    key: bytes, value: bytes, changelog: str, partition: int, limit: int = DEFAULT_LIMIT
) -> Row:
    """A dead letter that keeps a state which cannot be read."""
    own: OwnHeaders = {
        "reason": "state",
        "detail": "the shopper's state cannot be read; the shopper starts anew",
        "stage": "fold",
        "source_topic": changelog,
        "source_partition": partition,
        "source_offset": -1,
        "source_timestamp_ms": -1,
    }
    return _fitting(key, value, own, (), limit)


def _fitting(
    key: bytes | None,
    value: bytes | None,
    own: OwnHeaders,
    originals: Iterable[tuple[str, bytes | None]],
    limit: int,
) -> Row:
    cut: OwnHeaders = {}
    key = _cut(key, min(MAX_KEY_BYTES, limit // 8), "key_", cut)
    headers = _as_headers(own) + _original_headers(originals, min(MAX_HEADER_BYTES, limit // 8))
    taken = row_bytes(Row(key, b"", headers + _as_headers(cut) + _as_headers(_WIDEST)))
    value = _cut(value, max(min(MAX_VALUE_BYTES, limit - taken), 0), "", cut)
    return Row(key, value, headers + _as_headers(cut))


_WIDEST: OwnHeaders = {"cut_from_bytes": 1 << 40, "sha256": "0" * 64}
"""The longest headers about a value that was cut: room is kept for them."""


def _cut(data: bytes | None, most: int, prefix: str, own: OwnHeaders) -> bytes | None:
    """Cut bytes to the beginning that fits.

    Headers that say how long they were are appended to `own`.
    """
    if data is None or len(data) <= most:
        return data
    own |= {
        f"{prefix}cut_from_bytes": len(data),
        f"{prefix}sha256": hashlib.sha256(data).hexdigest(),
    }
    return data[:most]


def _as_headers(own: OwnHeaders) -> Headers:
    return [(name, str(text).encode()) for name, text in own.items()]


def _original_headers(originals: Iterable[tuple[str, bytes | None]], room: int) -> Headers:
    """The record's own headers, as many as fit."""
    kept: Headers = []
    empty = row_bytes(Row(None, None))
    for name, value in originals:
        header = f"original_{name}", value or b""
        room -= row_bytes(Row(None, None, [header])) - empty
        if room < 0:
            return [*kept, ("original_headers_cut", b"true")]
        kept.append(header)
    return kept
