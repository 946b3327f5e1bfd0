"""CloudEvents are unwrapped in both modes, judged by what their SDK writes.

Other envelopes are told by name.
"""

import base64
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from worker.pipeline import codec
from worker.pipeline.codec import Invalid

NOW = 1_767_323_045.0
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SAID: dict[str, dict[str, Any]] = {
    "purchases": {"user_id": "u", "product_id": "caf\u00e9", "basket_id": "b"},
    "browses": {"user_id": "u", "product_id": "p", "action": "view"},
    "reviews": {"user_id": "u", "product_id": "p", "rating": 4.5},
    "users": {"user_id": "u", "text": "likes tea"},
    "products": {"product_id": "u", "title": "Green tea", "attributes": {"grams": 100}},
}
MODES = {"structured": to_structured_event, "binary": to_binary_event}


def cloud_event(data: Any, **attributes: Any) -> CloudEvent:
    fields = {
        "id": "e1",
        "source": "shop",
        "type": "com.shop.event",
        "specversion": "1.0",
        "time": TIME,
    }
    return CloudEvent(attributes=fields | {"partitionkey": "u"} | attributes, data=data)


def read(family: str, message: KafkaMessage, **changes: Any) -> Any:
    """What the codec makes of a record; its own time is another one than the event's."""
    key = message.key.encode() if isinstance(message.key, str) else message.key
    fields = {
        "topic": "t", "partition": 1, "offset": 7, "timestamp": 1_500_000_000_000, "key": key,
        "value": message.value,
        "headers": tuple(message.headers.items()),
    }  # fmt: skip
    record = SimpleNamespace(**fields | changes)
    return (
        codec.decode_product(record, 3)
        if family == "products"
        else codec.decode(family, record, NOW)
    )


@pytest.mark.parametrize("family", SAID)
@pytest.mark.parametrize("mode", MODES)
def test_what_the_sdk_writes_is_read_with_id_and_time_of_the_envelope(
    family: str, mode: str
) -> None:
    event = cloud_event(SAID[family], datacontenttype="application/json")
    said = read(family, MODES[mode](event))
    assert not isinstance(said, Invalid), said
    if family == "products":
        assert said[1].text == "Green tea. grams 100"
    else:
        assert said.event.time == int(TIME.timestamp()) and said.user_id == "u"
        assert family == "users" or said.event_id == "e1"


@pytest.mark.parametrize("mode", MODES)
def test_what_the_data_say_wins(mode: str) -> None:
    own = {"event_id": "mine", "occurred_at": "2025-12-31T00:00:00Z"}
    event = cloud_event(SAID["purchases"] | own, datacontenttype="application/json")
    said = read("purchases", MODES[mode](event))
    assert said.event_id == "mine" and said.event.time == int(
        datetime(2025, 12, 31, tzinfo=UTC).timestamp()
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("year", [1970, 2200])
def test_a_time_of_the_envelope_that_cannot_be_is_passed_over(mode: str, year: int) -> None:
    event = cloud_event(
        SAID["users"], datacontenttype="application/json", time=TIME.replace(year=year)
    )
    assert read("users", MODES[mode](event)).event.time == 1_500_000_000, "the record's own"


def test_a_time_that_is_needed_and_cannot_be_is_refused_for_that() -> None:
    event = cloud_event(
        SAID["purchases"], datacontenttype="application/json", time=TIME.replace(year=1970)
    )
    said = read("purchases", to_structured_event(event))
    assert said.reason == "schema" and "between 2000 and 2100" in said.detail


def test_data_as_bytes_are_base64_in_structured_mode() -> None:
    message = to_structured_event(cloud_event(json.dumps(SAID["purchases"]).encode()))
    assert b"data_base64" in message.value and read("purchases", message).event_id == "e1"


@pytest.mark.parametrize(
    "kind", [b"application/cloudevents+json; charset=UTF-8", b"Application/CloudEvents+JSON"]
)
def test_the_content_type_may_have_parameters_and_any_case(kind: bytes) -> None:
    message = to_structured_event(
        cloud_event(SAID["purchases"], datacontenttype="application/json")
    )
    assert read("purchases", message, headers=(("Content-Type", kind),)).event_id == "e1"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (b'{"specversion":"1.0","id":"e1"}', "without data"),
        (b'{"id":"e1","data_base64":"%"}', "no base64"),
        (b'{"id":"e1","data_base64":7}', "no base64"),
    ],
)
def test_a_cloud_event_without_data_is_refused(value: bytes, detail: str) -> None:
    said = read(
        "purchases", KafkaMessage({"content-type": b"application/cloudevents+json"}, b"u", value)
    )
    assert said.reason == "envelope" and detail in said.detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"{", "json"), (b"\xff", "encoding"), (b"[]", "schema"), (b'{"data":"text"}', "schema"),
     (b'{"data_base64":"%s"}' % base64.b64encode(b"\xff"), "encoding"), (b"[" * 5000, "depth")],
)  # fmt: skip
def test_other_faults_keep_their_reasons(value: bytes, reason: str) -> None:
    assert (
        read(
            "purchases",
            KafkaMessage({"content-type": b"application/cloudevents+json"}, b"u", value),
        ).reason
        == reason
    )


def test_a_batch_is_refused_with_what_to_do() -> None:
    said = read(
        "purchases",
        KafkaMessage({"content-type": b"application/cloudevents-batch+json"}, b"u", b"[]"),
    )
    assert said.reason == "envelope" and "send each event as a record of its own" in said.detail


ROW = SAID["purchases"] | {"event_id": "e", "occurred_at": "2026-01-02T03:04:05Z"}
CHANGE = {"before": None, "after": ROW, "op": "c", "source": {}}
SCHEMA = {"type": "struct", "fields": []}


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (b"\0\0\0\0\x07" + json.dumps(ROW).encode(), ["magic byte 0, schema 7", "JsonConverter"]),
        (json.dumps(CHANGE).encode(), ["ExtractNewRecordState"]),
        (
            json.dumps({"schema": SCHEMA, "payload": CHANGE}).encode(),
            ["ExtractNewRecordState", "schemas.enable=false"],
        ),
        (
            json.dumps({"schema": SCHEMA, "payload": ROW}).encode(),
            ["value.converter.schemas.enable=false"],
        ),
    ],
)
def test_an_envelope_that_is_not_unwrapped_is_named_with_the_setting(
    value: bytes, settings: list[str]
) -> None:
    said = read("purchases", KafkaMessage({}, b"u", value))
    assert said.reason == "envelope" and all(setting in said.detail for setting in settings)
    assert len(said.detail) <= 512


@pytest.mark.parametrize("key", [b'"u"', b'{"user_id":"u"}', b"\0\0\0\0\x01u"])
def test_a_key_that_is_wrapped_is_told_so(key: bytes) -> None:
    said = read("purchases", KafkaMessage({}, key, json.dumps(ROW).encode()))
    assert said.reason == "key" and "StringConverter" in said.detail


def test_a_message_of_a_shop_that_has_such_fields_is_still_a_message() -> None:
    value = json.dumps(ROW | {"op": "c", "after": 1, "schema": 1, "payload": 2}).encode()
    assert read("purchases", KafkaMessage({}, b"u", value)).event_id == "e"
