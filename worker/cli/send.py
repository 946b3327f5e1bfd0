"""`pprm send`: messages checked against their schema, then published, as any producer would."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from schemas.families import FAMILIES, READ
from schemas.limits import Message
from worker.pipeline.envelopes import IDS

MODELS: dict[str, type[Message]] = {name: FAMILIES[name].message for name in READ}
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
    """Check a message and dress it with key and CloudEvents headers.

    Ids and `occurred_at` are made if absent.

    Raises:
        SendError: an unknown family, or fields that do not fit its schema or are misspelt.
    """
    if family not in MODELS:
        raise SendError(f"{family} is not a topic to send to: choose one of {', '.join(MODELS)}")
    made = dict.fromkeys(IDS, uuid4().hex) | {
        "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds")
    }
    known = {
        name: value for name, value in made.items() if name in MODELS[family].model_fields
    } | dict(fields)
    _check_names(MODELS[family], known)
    check(family, known)
    return dress(family, known)


def check(family: str, fields: Mapping[str, Any]) -> None:
    """Make sure that fields are a message of a family.

    Raises:
        SendError: they do not fit its schema.
    """
    model = MODELS[family]
    try:
        model.model_validate_json(_json(fields))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)
        )
        raise SendError(
            f"{wrong}. The schema is schemas/json/{model.__name__.lower()}.json."
        ) from error


def dress(family: str, fields: Mapping[str, Any]) -> Envelope:
    """A message that is checked, with key and headers."""
    identity = next((str(fields[name]) for name in IDS if fields.get(name)), uuid4().hex)
    time = fields.get("occurred_at") or datetime.now(UTC).isoformat()
    return Envelope(
        str(fields[FAMILIES[family].key]).encode(),
        _json(fields),
        _headers(family, identity, str(time)),
    )


def _json(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)


def _check_names(model: type[Message], fields: Mapping[str, Any]) -> None:
    """Pass over an unknown field, as the worker does.

    A field that is a known one misspelt is refused.
    """
    for name in fields.keys() - model.model_fields.keys():
        if meant := get_close_matches(name.lower(), model.model_fields, n=1, cutoff=0.8):
            raise SendError(f"there is no field {name!r}: is it {meant[0]!r}?")


def parse_lines(family: str, lines: Iterable[bytes]) -> list[Envelope]:
    """Read JSON lines, one message each; all are checked before any is sent.

    Raises:     SendError: a line is not a valid message; the error has its number.
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


async def send(
    client: Mapping[str, Any], topic: str, messages: Iterable[Envelope]
) -> AsyncIterator[Sent]:
    """Publish messages in order.

    Yields where each one came to rest, once the broker has acknowledged it.
    """
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
    headers = {
        "ce_specversion": "1.0",
        "ce_id": identity,
        "ce_source": "pprm-send",
        "ce_type": f"com.pprm.{MODELS[family].__name__.lower()}.v1",
        "ce_time": time,
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in headers.items()]
