"""Envelopes around a message: CloudEvents are unwrapped.

Of other envelopes the error says how to take them off.

CloudEvents 1.0 over Kafka,
https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md. Looked
at only where a record is no plain message.
"""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.limits import Message, Time
from worker.kafka.batches import RecordHeaders

STRUCTURED, BATCH = b"application/cloudevents+json", b"application/cloudevents-batch+json"
IDS = ("event_id", "request_id")
TIMES = ("occurred_at", "updated_at")
"""Fields that an envelope's time stands in for, where a message has one and it is missing."""

CONFLUENT = (
    "a Schema Registry's framing (magic byte 0, schema {}) is around the message: write plain"
    " JSON; Kafka Connect: value.converter=org.apache.kafka.connect.json.JsonConverter,"
    " value.converter.schemas.enable=false"
)
CONNECT = (
    "Kafka Connect's envelope (schema, payload) is around"
    " the message: value.converter.schemas.enable=false"
)
DEBEZIUM = (
    "Debezium's envelope (before, after, op) is around the message: transforms=unwrap,"
    " transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState"
)
KEY = (
    "; the key is plain text, in Kafka Connect"
    " key.converter=org.apache.kafka.connect.storage.StringConverter"
)


class EnvelopeError(ValueError):
    """A CloudEvent cannot be unwrapped; the message says why."""


def opened(value: bytes, headers: RecordHeaders, model: type[Message]) -> bytes:
    """Return the message's own JSON.

    Of a CloudEvent in structured mode it is the data, which get id and time where they lack them.

    Raises:
        EnvelopeError: it is a batch, or its data are none.
    """
    kind = _content_type(headers)
    if kind == BATCH:
        raise EnvelopeError(
            "a batch of CloudEvents: send each event as a record of its own, with its own key"
        )
    event = _object(value) if kind == STRUCTURED else None
    if event is None:
        return value
    return _with(model, _data(event), event)


def completed(value: bytes, headers: RecordHeaders, model: type[Message]) -> bytes | None:
    """Add id and time of a CloudEvent in binary mode to a message that lacks them.

    None where there is no CloudEvent.
    """
    attributes = {name[3:]: _text(text) for name, text in headers if name in ("ce_id", "ce_time")}
    return _with(model, value, attributes) if attributes else None


def foreign(value: bytes) -> str | None:
    """What to do about an envelope that is not unwrapped; None where none is known."""
    if value[:1] == b"\0" and len(value) > 5:
        return CONFLUENT.format(int.from_bytes(value[1:5], "big"))
    outer = _object(value) or {}
    inner = outer.get("payload") if "schema" in outer else None
    if _is_change(outer) or (isinstance(inner, Mapping) and _is_change(inner)):
        return f"{DEBEZIUM}{', value.converter.schemas.enable=false' if inner else ''}"
    return CONNECT if "schema" in outer and "payload" in outer else None


def key_hint(key: str) -> str:
    """What to do about a key that is wrapped; empty where it is not."""
    return KEY if key[:1] in ('"', "{", "\0") else ""


def _is_change(fields: Mapping[str, object]) -> bool:
    return "op" in fields and ("before" in fields or "after" in fields)


def _content_type(headers: RecordHeaders) -> bytes:
    """Without parameters such as the character set."""
    for name, value in headers:
        if value and name.lower() == "content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def _object(value: bytes) -> dict[str, object] | None:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _data(event: Mapping[str, object]) -> bytes:
    if event.get("data") is not None:
        return orjson.dumps(event["data"])
    try:
        coded = event["data_base64"]
        if not isinstance(coded, str):
            raise TypeError
        return b64decode(coded, validate=True)
    except KeyError:
        raise EnvelopeError(
            "a CloudEvent without data; a null value forgets a shopper or withdraws a product"
        ) from None
    except (TypeError, ValueError):
        raise EnvelopeError("data_base64 of the CloudEvent is no base64") from None


def _with(model: type[Message], data: bytes, attributes: Mapping[str, object]) -> bytes:
    """Add the envelope's id and time to data without them, where the message has such fields."""
    fields, time = _object(data), attributes.get("time")
    if fields is None:
        return data
    for name, value in (
        *((name, attributes.get("id")) for name in IDS),
        *((name, time) for name in TIMES),
    ):
        field = model.model_fields.get(name)
        if field is None or value is None or fields.get(name) is not None:
            continue
        # what is needed is refused for what it says; what is not is better without what cannot be
        if field.is_required() or _is_a_time(value):
            fields[name] = value
    return orjson.dumps(fields)


_TIME = TypeAdapter[datetime](Time)


def _is_a_time(value: object) -> bool:
    """Whether a message could say this time."""
    try:
        _TIME.validate_json(orjson.dumps(value))
    except ValidationError:
        return False
    return True


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
