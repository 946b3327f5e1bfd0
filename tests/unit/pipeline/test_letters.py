"""Whatever comes in, what is written fits into its topic.

Judged by the batches that aiokafka builds.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from pprm.catalogue import popularity
from pprm.catalogue.popularity import COLUMNS
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from schemas.dead_letters import REASONS, DeadLetterHeaders
from tests.fuzz.targets import _EVENTS, Record
from worker.pipeline import codec, letters, message_limits
from worker.pipeline.codec import Answer, Invalid, Trigger
from worker.runtime import changelog
from worker.runtime.delivery import DEFAULT_LIMIT, Row, row_bytes
from worker.settings import load

LIMITS = [letters.SMALLEST_LIMIT, 100_000, DEFAULT_LIMIT, 2 << 20]


def built(row: Row) -> int:
    """Bytes of a batch with the row alone."""
    batch = BatchBuilder(1 << 16, 0, is_transactional=True)
    assert batch.append(key=row.key, value=row.value, timestamp=None, headers=list(row.headers))
    return len(batch._build())


def of_size(most: int) -> st.SearchStrategy[bytes]:
    near = [
        size + more
        for size in (0, 100, 2048, 16_384, 1 << 20, DEFAULT_LIMIT, 3_000_000)
        for more in (-300, -3, 0, 9)
    ]
    return st.one_of(
        st.binary(max_size=20),
        st.sampled_from([n for n in near if 0 <= n <= most]).map(lambda n: b"\xf0" * n),
    )


names = st.one_of(
    st.text(max_size=10), st.sampled_from(["", "traceparent", "tracestate", "x" * 40_000])
)
headers = st.one_of(
    st.lists(st.tuples(names, st.none() | of_size(100_000)), max_size=5),
    st.builds(lambda name, value, times: [(name, value)] * times, names,
    st.none() | st.binary(max_size=3),
              st.sampled_from([100, 6_000, 300_000])),
)  # fmt: skip
records = st.builds(
    Record, st.sampled_from(["t", "t" * 249]), st.integers(0, 9999), st.integers(0, 1 << 60),
    st.integers(-1, 1 << 60),
    st.none() | of_size(3_000_000), st.none() | of_size(3_000_000), headers,
)  # fmt: skip
refusals = st.builds(
    Invalid, st.sampled_from(REASONS), st.sampled_from(["", "\U0001f600" * 512]), st.just("decode")
)


BROKEN = Invalid("json", "broken")


@given(records, refusals, st.sampled_from(LIMITS))
@example(Record("t", 0, 0, 0, None, None, [("", b"")] * 300_000), BROKEN, DEFAULT_LIMIT)
@example(
    Record("t", 0, 0, 0, b"k" * 3_000_000, b"v" * 3_000_000, [("h", b"x" * 3_000_000)]),
    BROKEN,
    LIMITS[0],
)
@example(Record("t", 0, 0, 0, None, b"v" * DEFAULT_LIMIT, []), BROKEN, DEFAULT_LIMIT)
def test_a_letter_of_any_record_fits_and_says_what_was_cut(
    record: Record, invalid: Invalid, limit: int
) -> None:
    letter = letters.dead_letter(record, invalid, limit)
    assert built(letter) <= row_bytes(letter) <= limit
    said = {
        name: text.decode() for name, text in letter.headers if not name.startswith("original_")
    }
    said |= {name: text.decode() for name, text in letter.headers if name == "original_headers_cut"}
    read = DeadLetterHeaders.model_validate_strings(said)
    _kept(record.key, letter.key, read.key_cut_from_bytes, read.key_sha256)
    _kept(record.value, letter.value, read.cut_from_bytes, read.sha256)
    kept = [header for header in letter.headers if header[0].startswith("original_")]
    if not read.original_headers_cut:
        assert kept == [(f"original_{name}", value or b"") for name, value in record.headers]


def _kept(
    original: bytes | None, kept: bytes | None, cut_from: int | None, sha256: str | None
) -> None:
    if cut_from is None:
        assert kept == original
    else:
        assert (
            original
            and kept is not None
            and original.startswith(kept)
            and cut_from == len(original) > len(kept)
        )
        assert sha256 == hashlib.sha256(original).hexdigest()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("beside", [0, 60])
def test_as_much_is_kept_as_fits(limit: int, beside: int) -> None:
    value = b"x" * (limit - 600 - beside)
    record = Record("t", 0, 0, 0, b"k" * beside, value, [])
    letter = letters.dead_letter(record, BROKEN, limit)
    assert letter.value == value[: letters.MAX_VALUE_BYTES]


def test_a_letter_keeps_everything() -> None:
    original = Record("t", 1, 7, 9, None, b"\x00raw", [("h", b"v"), ("n", None)])
    letter = letters.dead_letter(original, BROKEN)
    assert (letter.key, letter.value) == (None, b"\x00raw")
    fields = {name: text.decode() for name, text in letter.headers}
    read = DeadLetterHeaders.model_validate_strings(
        {n: v for n, v in fields.items() if not n.startswith("original_")}
    )
    assert (read.reason, read.source_topic, read.source_partition, read.source_offset) == (
        "json",
        "t",
        1,
        7,
    )
    assert fields["original_h"] == "v" and fields["original_n"] == ""


MODEL = {"name": "m" * 64, "version": "v" * 64, "sha256": "0" * 64}
ID = "\x01" * 128
"""Six bytes each as JSON."""


@given(headers, st.sampled_from([1, 10, 100]))
def test_a_list_fits_whatever_record_it_answers(of_record: Any, k: int) -> None:
    reasons = ["similar_shoppers"] * 8
    answer = Answer(
        ID, 1 << 60, Trigger("retraction", "t" * 249, 9999, 1 << 60, ID), MODEL,
        [(ID, 0.123456, reasons)] * k, of_record,
    )  # fmt: skip
    row = Row(*codec.encode_recommendation(answer, datetime.now(UTC)))
    assert built(row) <= row_bytes(row) <= codec.largest_list(k)


def test_a_trace_is_passed_on_within_the_limits_of_the_w3c() -> None:
    def trace(*of_record: tuple[str, bytes]) -> list[tuple[str, bytes]]:
        answer = Answer("u", 1, Trigger("event", "t", 0, 0, "e"), MODEL, [], of_record)
        return [
            h
            for h in codec.encode_recommendation(answer, datetime.now(UTC))[2]
            if h[0].startswith("trace")
        ]

    parent = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert trace(parent, ("tracestate", b"a=1"), parent) == [parent, ("tracestate", b"a=1")]
    assert trace(("traceparent", b"0" * 1_048_368), ("tracestate", b"a=1")) == []
    members = [b"%03d=%s" % (number, b"v" * 90) for number in range(32)]
    assert trace(parent, ("tracestate", b",".join(members))) == [
        parent,
        ("tracestate", b",".join(members[:5])),
    ]


def test_states_and_snapshots_fit() -> None:
    most = message_limits.largest(load())
    state = fold(UserState(), _EVENTS).state
    row = Row(b"k" * 128, user_state.encode(state), changelog.stamp(1 << 31))
    around = row_bytes(row) - len(row.value or b"")
    assert around <= message_limits.AROUND
    assert popularity.MAX_SNAPSHOT_BYTES >= popularity.MAX_SNAPSHOT * (8 + 4 * COLUMNS)
    assert all(needed <= DEFAULT_LIMIT for needed in most.values()), (
        "no broker's default is too small"
    )
