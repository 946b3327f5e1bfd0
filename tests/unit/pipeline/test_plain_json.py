"""What the fast reader takes, the model takes with the same values.

All else it leaves to the model.
"""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.browses import Browse
from schemas.purchases import Purchase
from worker.pipeline.plain_json import reader

MODELS = (Purchase, Browse)
READ = {model: reader(model, "occurred_at") for model in MODELS}
GOOD = {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": "2026-01-02T03:04:05Z"}

TEXT = json.dumps(GOOD).encode()
PARTS = (
    b"", b" ", b"\n", b"}", TEXT, TEXT[:-1], TEXT[9:], TEXT + b"," + TEXT[:9],
    TEXT + b"\n" + TEXT, TEXT + b"\n", b"\n" + TEXT, b"\r" + TEXT, TEXT.replace(b", ", b",\n"),
)  # fmt: skip
"""Which put together may pass for other values."""

times = st.builds(
    "{}-{}{}{}{}{}".format,
    st.sampled_from(
        [
            "2026-01",
            "1999-12",
            "2000-01",
            "2099-12",
            "2100-01",
            "2026-02",
            "2026-13",
            "26-01",
            "2026-W1",
        ]
    ),
    st.sampled_from(["01", "02", "31", "29", "1"]),
    st.sampled_from(["T", "t", " ", "_", ""]),
    st.sampled_from(["00:00:00", "23:59:59", "23:59:60", "24:00:00", "12:30", "123456", "1:02:03"]),
    st.sampled_from(["", ".5", ".999999", ".9999995", ".9999999999", ".123456789", ".", ",5"]),
    st.sampled_from(
        ["Z", "z", "", "+00:00", "-00:00", "+23:59", "-14:30", "+0100", "+24:00", "+01"]
    ),
)
numbers = st.sampled_from(
    ["0", "1", "-0", "-0.0", "1.0", "1e0", "1E6", "1000000.0000001", "1e400", "1e-400", "01", "+1",
    "NaN", "Infinity",
     "18446744073709551616", "true", "null", "\"1\"", ".5", "5.", "86400", "86400.1", "1e9"]
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda t: json.dumps(t, ensure_ascii=False)),
    st.integers(0, 140).map(lambda n: json.dumps("x" * n)),
    st.sampled_from(["null", "7", "true", "[]", "{}", "\"\\ud800\"", "\"a\tb\""]),
)  # fmt: skip
attributes = st.sampled_from(
    ["null", "{}", '{"a":"b"}', '{"a":null}', '{"a":true}', '{"a":"b","a":"c"}', '{"":"b"}',
    '{"a":7}', '{"a":{}}',
     json.dumps({str(n): "" for n in range(33)}), json.dumps({"k" * 65: ""}),
     json.dumps({"k": "v" * 513})]
)  # fmt: skip
fields = st.one_of(
    st.tuples(
        st.sampled_from(["event_id", "user_id", "product_id", "basket_id", "store_id", "x"]), texts
    ),
    st.tuples(st.just("occurred_at"), st.one_of(times.map(json.dumps), numbers)),
    st.tuples(st.sampled_from(["quantity", "price", "dwell_seconds"]), numbers),
    st.tuples(st.just("action"), st.sampled_from(['"view"', '"search_click"', '"buy"', "1"])),
    st.tuples(st.sampled_from(["attributes", "x"]), attributes),
)
messages = st.lists(fields, max_size=4).map(
    lambda more: "{" + ",".join(
        [f'"{name}":{json.dumps(value)}' for name, value in GOOD.items()] + [f'"{n}":{value}' for n,
        value in more]
    ) + "}"
)  # fmt: skip


@given(st.sampled_from(MODELS), messages)
def test_what_it_takes_the_model_takes_with_the_same_values(model: Any, text: str) -> None:
    value = text.encode(errors="surrogatepass")
    if (message := READ[model]([value])[0]) is None:
        return
    try:
        wanted = model.model_validate_json(value)
    except ValidationError as error:
        raise AssertionError(f"the model refuses {value!r}") from error
    for name in model.model_fields:
        got, right = getattr(message, name), getattr(wanted, name)
        if name == "occurred_at":  # as far as an event keeps it
            got, right = int(got.timestamp()), int(right.timestamp())
        assert (type(got), got) == (type(right), right), name


@given(
    st.lists(
        st.one_of(
            messages.map(lambda text: text.encode(errors="surrogatepass")), st.sampled_from(PARTS)
        )
    )
)
@example([TEXT + b"\n" + TEXT, b""])  # two objects are not the events of two records
@example([b"", TEXT + b"\n" + TEXT])
@example([TEXT[:9] + b"\n" + TEXT[9:], TEXT])
def test_what_came_together_is_read_as_if_it_came_alone(values: list[bytes]) -> None:
    assert READ[Purchase](values) == [
        message for value in values for message in READ[Purchase]([value])
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"basket_id": "b", "store_id": "s", "quantity": 2, "price": 1.5},
        {"attributes": {"till": "3"}, "new_field": 7},
        {"occurred_at": "2026-01-02T03:04:05.678+01:00"},
    ],
)
def test_what_producers_send_is_read_fast(more: dict[str, Any]) -> None:
    assert READ[Purchase]([json.dumps(GOOD | more).encode()]) != [None]
    assert READ[Browse]([json.dumps(GOOD | {"action": "view"} | more).encode()]) != [None]


@pytest.mark.parametrize(
    "more",
    [
        {"price": -2e9},
        {"quantity": -2e6},
        {"kind": "refund"},
        {"product_id": ""},
        {"product_id": "caf\u00e9"},
        {"x": [1]},
        {"occurred_at": "2100-01-01T00:00:00Z"},
    ],
)
def test_the_rest_is_left_to_the_model(more: dict[str, Any]) -> None:
    assert READ[Purchase]([json.dumps(GOOD | more).encode()]) == [None]
