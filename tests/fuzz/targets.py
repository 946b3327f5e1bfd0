"""What must hold for any bytes whatever: each target takes bytes and raises where it does not.

The first byte chooses the record around a value: its family, and whether key, time and headers are
those of a good one.
"""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pprm.catalogue.popularity import Popularity
from pprm.core.events import Interaction, Kind, Position, Profile
from pprm.retrieval.features import scalars
from pprm.retrieval.retriever import sequences
from pprm.state import layout3, layout4, layout5, user_state
from pprm.state.fold import fold
from pprm.state.user_state import StateError, UserState
from schemas.dead_letters import DeadLetterHeaders
from schemas.families import READ
from worker.pipeline import codec, letters
from worker.pipeline.codec import Decoded, Invalid
from worker.runtime.delivery import DEFAULT_LIMIT, row_bytes

CORPUS = Path(__file__).parent / "corpus"
NOW = 1_800_000_000.0
MOST_SECONDS = 5.0
"""No value may take longer, on a busy machine and instrumented: the stream waits meanwhile."""
FAMILIES = READ


class Record(NamedTuple):
    """A Kafka record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


DIMENSIONS = 3


def decode_event(data: bytes) -> None:
    """The codec: a decision, never an exception.

    What it takes can be kept, what it refuses can be a dead letter.
    """
    family, record = record_of(data)
    started = time.monotonic()
    if family == "products":
        decoded: Any = codec.decode_product(record, DIMENSIONS)
    else:
        decoded = codec.decode(family, record, NOW)
    assert time.monotonic() - started < MOST_SECONDS
    if isinstance(decoded, Invalid):
        _is_a_letter(record, decoded)
    elif family == "products":
        key, product = decoded
        assert key == (record.key or b"").decode() and (product is None) == (record.value is None)
    else:
        _can_be_kept(decoded)


def decode_state(data: bytes) -> None:
    """The state.

    An error, or a state whose bytes are these (in today's layout), which takes events and scores.
    """
    try:
        state = user_state.decode(data)
    except StateError:
        return
    assert user_state.encode(state) == data or data[:1] in (layout3.TAG, layout4.TAG, layout5.TAG)
    for event in _EVENTS:
        after = fold(state, [event]).state
        assert user_state.encode(user_state.decode(user_state.encode(after))) == user_state.encode(
            after
        )
    after = fold(state, _EVENTS).state
    _can_be_scored(after)
    Popularity().add_state(after)


TARGETS: dict[str, Callable[[bytes], None]] = {"event": decode_event, "state": decode_state}

_EVENTS = [
    *(
        Interaction(Position(0, 3, (1 << 40) + i), kind, i, int(NOW), i, fingerprint=i)
        for i, kind in enumerate(Kind)
    ),
    Interaction(Position(0, 3, 7, log=9), Kind.PURCHASE, 7, int(NOW), fingerprint=1),
    *(Interaction(Position(0, 3, 8 + i, log=9), Kind.RETURN, i + 1, int(NOW)) for i in range(8)),
    Interaction(Position(0, 3, (1 << 40) + 90, log=9), Kind.PURCHASE, 7, int(NOW) - 86_400 * 400),
    Interaction(Position(2, 3, 1 << 40), Kind.REVIEW, 7, int(NOW), sentiment=-1.0),
    Profile(Position(3, 3, 1 << 40), int(NOW), "x" * 2000),
]


def record_of(data: bytes) -> tuple[str, Record]:
    """The family and the record that bytes of a fuzzer stand for."""
    chosen, value = data[0] if data else 0, data[1:]
    family = FAMILIES[(chosen & 0x1F) % len(FAMILIES)]  # the other bits are below
    key = b"u" if family != "products" else b"p"
    timestamp = int(NOW) * 1000
    headers: list[tuple[str, bytes | None]] = [("traceparent", b"00-ab-cd-01")]
    if chosen & 0x80:
        key, value = value[:40], value[40:]
    if chosen & 0x40:
        (timestamp,) = struct.unpack("<q", value[:8].ljust(8, b"\0"))
        headers, value = [("x", value[8:16]), ("y", None)], value[16:]
    if chosen & 0x20:
        headers.append(("content-type", b"application/cloudevents+json"))
    return family, Record("t", 3, 1 << 40, timestamp, key or None, value or None, headers)


def _is_a_letter(record: Record, said: Invalid) -> None:
    letter = letters.dead_letter(record, said)
    assert (letter.key, letter.value) == (record.key, record.value) and row_bytes(
        letter
    ) <= DEFAULT_LIMIT
    fields = {
        name: text.decode() for name, text in letter.headers if not name.startswith("original_")
    }
    DeadLetterHeaders.model_validate_strings(fields)


def _can_be_kept(said: Decoded) -> None:
    assert said.user_id.encode() and said.event.time <= NOW + codec.FUTURE_SECONDS
    state = fold(UserState(), [said.event]).state
    value = user_state.encode(state)
    assert len(value) <= user_state.MAX_BYTES
    assert user_state.encode(user_state.decode(value)) == value
    _can_be_scored(state)


def _can_be_scored(state: UserState) -> None:
    """The shopper's own numbers are numbers; the rest of the scoring is bounded by them."""
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(scalars(state, state.active_at)).all()
        sequences([state], [state.active_at], _NO_PRODUCTS)
    state.text.decode()
    json.dumps(state.published_list().tolist())


class _NoProducts:
    def rows(self, products: Any) -> Any:
        return np.zeros(len(products), np.int64)


_NO_PRODUCTS: Any = _NoProducts()
