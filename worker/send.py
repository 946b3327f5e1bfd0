"""`pprm send`: messages checked against their schema, then published, as any producer would."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from schemas import Browse, Product, Purchase, Review, User
from schemas.limits import Message

MODELS: dict[str, type[Message]] = {
    "purchases": Purchase, "browses": Browse, "reviews": Review, "users": User, "products": Product,
}  # fmt: skip
"""What can be sent, by topic family."""


class SendError(ValueError):
    """A message is not valid; the text says where and what to do."""


class Sent(NamedTuple):
    """Where a message came to rest."""

    topic: str
    partition: int
    offset: int


class Envelope(NamedTuple):
    """A message ready for the producer."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def compose(family: str, fields: Mapping[str, Any]) -> Envelope:
    """Check a message and dress it with key and CloudEvents headers; `event_id` and `occurred_at` are made if absent.

    Raises:
        SendError: an unknown family, or fields that do not fit its schema.
    """
    model = MODELS.get(family)
    if model is None:
        raise SendError(f"{family} is not a topic to send to: choose one of {', '.join(MODELS)}")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    made = {"event_id": uuid4().hex, "occurred_at": now}
    known = {name: value for name, value in made.items() if name in model.model_fields} | dict(fields)
    value = orjson.dumps(known, option=orjson.OPT_SERIALIZE_NUMPY)
    try:
        message = model.model_validate_json(value)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SendError(f"{wrong}. The schema is schemas/json/{model.__name__.lower()}.json.") from error
    key = str(getattr(message, "product_id" if family == "products" else "user_id"))
    identity = str(known.get("event_id") or uuid4().hex)
    return Envelope(key.encode(), value, _headers(family, identity, str(known.get("occurred_at", now))))


def parse_lines(family: str, lines: Iterable[bytes]) -> list[Envelope]:
    """Read JSON lines, one message each; all are checked before any is sent.

    Raises:
        SendError: the first line that is not a valid message, with its number.
    """
    messages = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = orjson.loads(line)
            if not isinstance(fields, dict):
                raise SendError("a line must be one JSON object")
            messages.append(compose(family, fields))
        except (orjson.JSONDecodeError, SendError) as error:
            raise SendError(f"line {number}: {error} Nothing was sent.") from error
    return messages


async def send(client: Mapping[str, Any], topic: str, messages: Iterable[Envelope]) -> AsyncIterator[Sent]:
    """Publish messages in order; yields where each one came to rest, once the broker has acknowledged it."""
    producer = AIOKafkaProducer(acks="all", **client)
    await producer.start()
    try:
        futures = [await producer.send(topic, m.value, m.key, headers=m.headers) for m in messages]
        for future in futures:
            metadata = await future
            yield Sent(metadata.topic, metadata.partition, metadata.offset)
    finally:
        await producer.stop()


def _headers(family: str, identity: str, time: str) -> list[tuple[str, bytes]]:
    said = {
        "ce_specversion": "1.0",
        "ce_id": identity,
        "ce_source": "pprm-send",
        "ce_type": f"com.pprm.{MODELS[family].__name__.lower()}.v1",
        "ce_time": time,
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in said.items()]
