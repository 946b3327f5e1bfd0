import json
from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from pprm.core.events import Interaction, Kind, Position, Request
from pprm.core.ids import fingerprint, stable_hash
from schemas.recommendations import Recommendation
from worker.pipeline import codec, letters
from worker.pipeline.codec import Answer, Invalid, Trigger

GOOD = b'{"event_id":"e","user_id":"u","product_id":"p","occurred_at":"2026-01-02T03:04:05Z"%s}'
NOW = 1767323045.0


def record(value, key=b"u", headers=()):
    return SimpleNamespace(
        topic="t",
        partition=1,
        offset=7,
        timestamp=1_767_323_045_000,
        key=key,
        value=value,
        headers=headers,
    )


def test_purchase():
    decoded = codec.decode("purchases", record(GOOD % b""), NOW)
    product = stable_hash("p")
    known_by = fingerprint(Kind.PURCHASE, "e", product)
    assert decoded.event == Interaction(
        Position(0, 1, 7), Kind.PURCHASE, product, int(NOW), fingerprint=known_by
    )
    assert (decoded.user_id, decoded.event_id) == ("u", "e")


def test_a_request():
    value = b'{"request_id":"r","user_id":"u","occurred_at":"2026-01-02T03:04:05Z"}'
    decoded = codec.decode("requests", record(value), NOW)
    assert decoded.event == Request(Position(4, 1, 7), int(NOW)) and decoded.event_id == "r"
    assert codec.decode("requests", record(None), NOW).reason == "tombstone"


def test_a_position_says_of_which_log_the_record_is():
    """Else the records of a topic that was made anew would pass for repeats."""
    for family, value in (("purchases", GOOD % b""), ("users", None)):
        assert codec.decode(family, record(value), NOW, log=5).event.position.log == 5


def test_baskets_that_never_come_again_push_no_product_out_of_the_known_ids():
    codec.decode("purchases", record(GOOD % b""), NOW)
    known = stable_hash.cache_info().currsize
    decoded = codec.decode("purchases", record(GOOD % b',"basket_id":"of today"'), NOW)
    assert stable_hash.cache_info().currsize == known and decoded.event.basket == stable_hash(
        "of today"
    )


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (b" " * (codec.MAX_VALUE_BYTES + 1), b"u", "oversize"),
        (GOOD % b"", None, "key"),
        (GOOD % b"", b"\xff", "key"),
        (GOOD % b"", b"other", "key"),
        (None, b"u", "tombstone"),
        (b"\xff", b"u", "encoding"),
        (b"{", b"u", "json"),
        (b"[" * 5000, b"u", "depth"),
        (GOOD % b',"price":NaN', b"u", "schema"),
        (b"{}", b"u", "schema"),
    ],
)
def test_refusals(value, key, reason):
    assert codec.decode("purchases", record(value, key), NOW).reason == reason


def test_future():
    assert (
        codec.decode("purchases", record(GOOD % b""), NOW - codec.FUTURE_SECONDS - 1).reason
        == "future"
    )


def test_null_user_is_forgotten():
    assert codec.decode("users", record(None), NOW).event.text is None


SECONDS, TOO_LATE = 1_767_323_045, 2_000_000_000_000


@pytest.mark.parametrize("timestamp", [SECONDS, TOO_LATE, -1, 0, None])
@pytest.mark.parametrize("value", [None, b'{"user_id":"u","text":"likes tea"}'])
def test_a_record_time_that_cannot_be_is_replaced_by_the_workers_clock_and_counted(
    timestamp, value
):
    record_, mended = record(value), defaultdict(int)
    record_.timestamp = timestamp
    assert codec.decode("users", record_, NOW, mended).event.time == int(NOW)
    assert codec.record_time(record_, NOW) is None and mended == {"record_time": 1}


def test_a_record_time_that_can_be_is_kept_and_one_that_is_not_needed_is_not_looked_at():
    mended = defaultdict(int)
    early = record(None)
    early.timestamp = 1_500_000_000_500
    assert codec.decode("users", early, NOW, mended).event.time == 1_500_000_000
    assert codec.record_time(early, NOW) == 1_500_000_000.5
    early.timestamp = SECONDS
    early.value = b'{"user_id":"u","updated_at":"2026-01-02T03:04:05Z"}'
    assert codec.decode("users", early, NOW, mended).event.time == int(NOW) and not mended


def test_the_last_word_on_a_product_counts_whatever_else_is_null():
    tea = b'{"product_id":"u","title":"Green tea","available":false,"brand":null}'
    key, product = codec.decode_product(record(tea), 3)
    assert key == "u" and not product.available and product.maker == ""


def test_texts_beyond_their_limit_are_cut_and_counted():
    mended = defaultdict(int)
    fields = {
        "product_id": "u",
        "title": "t" * 600,
        "brand": "b" * 600,
        "categories": [str(i) for i in range(9)],
    }
    _, product = codec.decode_product(record(json.dumps(fields).encode()), 3, mended)
    assert product.text == ". ".join(["t" * 512, *"12345678"]) and product.maker == "b" * 512
    assert product.type == "8" and mended == {"text": 3}
    codec.decode("reviews", record(event(text="good " * 2000).encode()), NOW, mended)
    codec.decode(
        "users", record(json.dumps({"user_id": "u", "text": "x" * 1025}).encode()), NOW, mended
    )
    assert mended == {"text": 5}


def test_attributes_become_texts():
    fields = {"volts": 230, "ratio": 1.5, "washable": True, "colour": None, "": "x"}
    value = json.dumps({"product_id": "u", "title": "Iron", "attributes": fields}).encode()
    assert (
        codec.decode_product(record(value), 3)[1].text
        == "Iron. ratio 1.5. volts 230. washable true"
    )


@pytest.mark.parametrize("time", ["1767323045", "1767323045.5", "-1", "20260102T030405Z", "2026"])
def test_a_time_written_as_a_number_is_no_rfc_3339(time):
    decoded = codec.decode("purchases", record(event(occurred_at=time).encode()), NOW)
    assert decoded.reason == "schema" and decoded.detail.startswith("occurred_at: ")


def test_a_review_within_the_limits_is_taken_whatever_its_escapes():
    smile, control = "\\ud83d\\ude00", "\\u0001"
    attributes = ",".join(f'"{n:02}{smile * 62}":"{smile * 512}"' for n in range(32))
    key = "\1" * 128
    value = (
        f'{{"event_id":"{control * 128}","user_id":"{control * 128}",'
        f'"product_id":"{control * 128}","occurred_at":"2026-01-02T03:04:05Z","rating":4.5,'
        f'"text":"{smile * 8192}","attributes":{{{attributes}}}}}'
    ).encode()
    mended, of = defaultdict(int), record(value, key.encode())
    decoded = codec.decode("reviews", of, NOW, mended)
    assert len(value) > 300_000 and decoded.user_id == key and not mended
    assert letters.dead_letter(of, Invalid("schema", "")).value == value


def event(**fields):
    return json.dumps(
        {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": "2026-01-02T03:04:05Z"}
        | fields
    )


@pytest.mark.parametrize("action", ["view", "search_click", "add_to_cart", "remove_from_cart"])
def test_browses(action):
    decoded = codec.decode("browses", record(event(action=action).encode()), NOW)
    assert decoded.event.kind is Kind[action.upper()] and decoded.event.position.source == 1


@pytest.mark.parametrize(
    ("fields", "sentiment"),
    [
        ({"rating": 5}, 1.0),
        ({"rating": 1, "text": "wonderful"}, -1.0),
        ({"sentiment": 0.25, "rating": 1}, 0.25),
        ({}, 0.0),
    ],
)
def test_a_review_says_its_sentiment_first_then_its_rating(fields, sentiment):
    assert (
        codec.decode("reviews", record(event(**fields).encode()), NOW).event.sentiment == sentiment
    )


def test_else_the_text_tells_the_sentiment():
    good, bad = (
        codec.decode("reviews", record(event(text=text).encode()), NOW).event.sentiment
        for text in ("I love it, wonderful", "awful, broken, I hate it")
    )
    assert bad < -0.5 < 0.5 < good


def test_a_profile_is_one_text_in_a_fixed_order():
    value = b'{"user_id":"u","text":"likes tea","attributes":{"home":"Owner","age":"45-54"}}'
    profile = codec.decode("users", record(value), NOW).event
    assert profile.text == "likes tea. age 45-54. home Owner" and profile.time == 1_767_323_045


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": "purchase"}, Kind.PURCHASE), ({"kind": None}, Kind.PURCHASE),
        ({"kind": "return"}, Kind.RETURN),
        ({"quantity": -1.5}, Kind.RETURN), ({"kind": "return", "quantity": -1}, Kind.RETURN),
        ({"kind": "return", "quantity": 2, "price": -3.5}, Kind.RETURN),
        ({"quantity": 0}, Kind.NOTHING),
        ({"kind": "return", "quantity": 0}, Kind.NOTHING),
    ],
)  # fmt: skip
def test_a_return_is_one_by_its_kind_or_its_quantity(fields, kind):
    decoded = codec.decode("purchases", record(event(**fields).encode()), NOW)
    assert decoded.event.kind is kind and decoded.event.position.source == 0


@pytest.mark.parametrize("action", ["dislike", "hide"])
def test_what_a_shopper_does_not_want_to_see(action):
    decoded = codec.decode("browses", record(event(action=action).encode()), NOW)
    assert decoded.event.kind is Kind[action.upper()]


def test_the_last_of_duplicate_names_counts_and_unknown_names_are_ignored():
    value = GOOD % b',"product_id":"q","surprise":[1,2]'
    assert codec.decode("purchases", record(value), NOW).event.product == stable_hash("q")


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": "1"},
        {"quantity": True},
        {"quantity": -2e6},
        {"kind": "Return"},
        {"price": -2e9},
        {"user_id": 7},
    ],
)
def test_wrong_types_and_values_are_refused(fields):
    assert codec.decode("purchases", record(event(**fields).encode()), NOW).reason == "schema"


def test_products():
    fields = {"product_id": "u", "title": "Rye", "categories": ["BREAD", "RYE"], "brand": "B"}
    value = json.dumps(fields | {"attributes": {"opening hours": "8-20"}}).encode()
    key, product = codec.decode_product(record(value), 3)
    assert key == "u" and (product.type, product.category, product.maker) == ("RYE", "BREAD", "B")
    assert product.text == "Rye. BREAD. RYE. opening hours 8-20" and product.available
    assert codec.decode_product(record(None), 3) == ("u", None)
    assert codec.decode_product(record(b"{"), 3).reason == "json"


MODEL = {"name": "pprm-s", "version": "1", "sha256": "0" * 64}
ANSWER = Answer(
    "u",
    1,
    Trigger("event", "t", 1, 7, "e"),
    MODEL,
    [("p", 0.5, ["due"])],
    (("traceparent", b"00-ab-cd-01"), ("x", b"y")),
)


def test_a_list_is_a_valid_message_and_a_valid_cloud_event():
    key, value, headers = codec.encode_recommendation(ANSWER, datetime(2026, 1, 2, tzinfo=UTC))
    message = Recommendation.model_validate_json(value)
    assert message.trigger.model_dump() == {
        "kind": "event",
        "topic": "t",
        "partition": 1,
        "offset": 7,
        "event_id": "e",
    }
    assert ("traceparent", b"00-ab-cd-01") in headers and not any(
        name == "x" for name, _ in headers
    )
    kafka = KafkaMessage(headers=dict(headers), key=key, value=value)
    read = from_kafka_event(kafka)
    assert (
        read.get_id() == message.recommendation_id
        and read.get_type() == "com.pprm.recommendation.v1"
    )
    assert read.get_time() == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_retraction_names_the_record_of_the_product_which_has_no_id():
    answer = Answer("u", 1, Trigger("retraction", "products", 0, 3), MODEL, [])
    key, value, headers = codec.encode_recommendation(answer, datetime(2026, 1, 2, tzinfo=UTC))
    assert key == b"u" and json.loads(value)["trigger"]["event_id"] is None
    trigger = Recommendation.model_validate_json(value).trigger
    assert (trigger.kind, trigger.topic, trigger.offset) == ("retraction", "products", 3)
    assert not any(name.startswith("trace") for name, _ in headers)


def listed(offset=7, **changes):
    """Id and content of a list, by its message and by its CloudEvents header."""
    items = changes.pop("items", [("p", 0.5, ["due"]), ("q", 0.25, ["popular"])])
    fields = {"user_id": "u", "version": 1, "model": MODEL} | changes
    trigger = Trigger("event", "t", 1, offset, "e")
    answer = Answer(fields["user_id"], fields["version"], trigger, fields["model"], items)
    _, value, headers = codec.encode_recommendation(answer, datetime.now(UTC))
    message = Recommendation.model_validate_json(value)
    assert dict(headers)["ce_id"].decode() == message.recommendation_id
    return message.recommendation_id


def test_one_id_is_one_content():
    """A crash may answer the same record again, with other products: that list is another one."""
    others = [
        {"user_id": "v"}, {"version": 2}, {"model": MODEL | {"sha256": "1" * 64}},
        {"items": [("q", 0.5, ["due"]), ("p", 0.25, ["popular"])]},
        {"items": [("p", 0.5, ["due"])]},
        {"items": [("p", 0.5, ["due"]), ("q", 0.250001, ["popular"])]},
        {"items": [("p", 0.5, ["due"]), ("q", 0.25, ["trending"])]}, {"items": []},
    ]  # fmt: skip
    assert len({listed(), *(listed(**other) for other in others)}) == 1 + len(others)


def test_the_same_content_has_the_same_id_whatever_record_it_answers():
    assert listed() == listed(offset=3)


def test_a_score_that_is_no_number_is_an_error_not_null():
    broken = Answer("u", 1, ANSWER.trigger, MODEL, [("p", float("nan"), [])])
    with pytest.raises(ValueError, match="rank 1"):
        codec.encode_recommendation(broken, datetime.now(UTC))
