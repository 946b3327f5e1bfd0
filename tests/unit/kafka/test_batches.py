"""Batches as a broker hands them over: of every codec, damaged, and meant to hurt."""

import asyncio
import struct
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka import batches, reader
from worker.kafka.batches import Batches, Record, Unreadable

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TP = TopicPartition("t", 0)
Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
ROWS: list[Row] = [
    (b"a", b"first" * 40, []), (None, None, [("n", None)]),
    (b"c", b"", [("name", b"x"), ("name", b"y")]),
]  # fmt: skip


def batch(rows: list[Row], codec: int = 0, first: int = 0) -> bytearray:
    """A batch as aiokafka's producer makes it, at an offset."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    for number, (key, value, headers) in enumerate(rows):
        assert builder.append(number, 1000 + number, key, value, headers)
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, first)
    return made


def signed(made: bytearray) -> bytes:
    """With the length and the checksum that a producer would have given to these bytes."""
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def records(data: bytes, at: int = 0) -> reader.RunRecords:
    return reader.RunRecords(TP, Batches(data), [], at, None, None, True, fetcher.READ_COMMITTED)


def read(data: bytes, at: int = 0) -> list[Record]:
    return list(records(data, at))


def said(record: Record) -> Any:
    return (record.key, record.value, list(record.headers))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("salvaged", [False, True])
def test_every_codec_is_read(codec: int, salvaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if salvaged:  # our own reading of a batch comes to the same as aiokafka's
        monkeypatch.setattr(reader.RunRecords, "_consumer_record", _refuse)
    found = read(bytes(batch(ROWS, codec) + batch(ROWS[:1], codec, first=3)))
    assert [said(record) for record in found] == [*ROWS, ROWS[0]]
    assert [(r.offset, r.timestamp, r.topic, r.partition) for r in found] == [
        (0, 1000, "t", 0), (1, 1001, "t", 0), (2, 1002, "t", 0), (3, 1000, "t", 0),
    ]  # fmt: skip


def _refuse(*_: Any) -> None:
    raise ValueError


def test_snappy_without_javas_framing_is_read_as_librdkafka_sends_it() -> None:
    made = batch(ROWS)
    body = cramjam.snappy.compress_raw(bytes(made[61:]))
    made[22] |= CODECS["snappy"]
    assert [said(r) for r in read(signed(made[:61] + bytes(body)))] == ROWS


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_of_a_header_name_that_is_not_utf8_only_the_record_is_unreadable(codec: int) -> None:
    rows: list[Row] = [
        (b"a", b"1" * 99, []),
        (b"b", b"2", [("BAD!", b"x")]),
        (b"c", b"3", []),
        (b"d", b"4", []),
    ]
    plain = batch(rows)
    at = plain.index(b"BAD!")
    plain[at : at + 4] = b"\xff\xfe\xfd\xfc"
    found = read(compressed(plain, codec) + batch(ROWS, first=4))
    assert [said(r) for r in found if r.offset != 1] == [rows[0], rows[2], rows[3], *ROWS]
    bad = found[1]
    assert isinstance(bad, Unreadable) and (bad.offset, bad.key, bad.timestamp) == (1, b"b", 1001)
    assert bad.why == "the record cannot be read: the name of a header is not UTF-8"
    assert bad.value and b"\xff\xfe\xfd\xfc" in bad.value and bad.value in bytes(plain), (
        "the bytes of the log"
    )


def compressed(plain: bytearray, codec: int) -> bytes:
    """A batch of records that are not compressed, with its records compressed."""
    compress: list[Any] = [
        bytes, cramjam.gzip.compress, cramjam.snappy.compress_raw, cramjam.lz4.compress,
        cramjam.zstd.compress,
    ]  # fmt: skip
    made = plain[:61] + bytes(compress[codec](bytes(plain[61:])))
    made[22] |= codec
    return signed(made)


@pytest.mark.parametrize("at", range(61, 75))
def test_of_a_batch_in_which_nothing_can_be_told_apart_all_bytes_are_kept(at: int) -> None:
    broken = batch(ROWS[:1] * 3)
    broken[at] ^= 0x55
    found = read(signed(broken) + batch(ROWS, first=3))
    assert [said(r) for r in found if r.offset > 2] == ROWS
    kept = [r for r in found if isinstance(r, Unreadable)]
    assert all(r.value and r.value in bytes(broken) for r in kept)
    assert {r.offset for r in found} >= {2, 3} and len(found) >= 4


def test_a_batch_as_a_whole_stands_at_its_last_offset_and_is_read_once() -> None:
    broken = batch(ROWS)
    broken[61] = 1  # the first record says a length of -1
    data = signed(broken) + batch(ROWS, first=3)
    (bad, *others) = read(data)
    assert isinstance(bad, Unreadable) and (bad.offset, bad.value, bad.key) == (
        2,
        data[: len(broken)],
        None,
    )
    assert bad.why.startswith("the batch of the offsets 0 to 2 cannot be read: ")
    assert [said(r) for r in others] == ROWS
    part = records(data)
    assert next(part).offset == 2 and part.next_fetch_offset == 3, (
        "a read that ends here goes on behind the batch"
    )


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_a_decompression_bomb_is_unreadable_and_takes_no_more_memory_than_the_bound(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 4 << 20)
    bomb = compressed(batch([(b"a", b"\0" * (100 << 20), [])]), CODECS[codec])
    tracemalloc.start()
    (bad,) = read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        isinstance(bad, Unreadable) and bad.value == bomb and "more than 4194304 bytes" in bad.why
    )
    assert peak < len(bomb) + (8 << 20)


def test_what_decompresses_to_just_the_bound_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = batch([(b"a", b"\0" * (1 << 20), [])])
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", len(plain) - 61)
    for codec in CODECS.values():
        (record,) = read(compressed(plain, codec))
        assert record.key == b"a"
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", len(plain) - 62)
    for codec in list(CODECS.values())[1:]:
        (record,) = read(compressed(plain, codec))
        assert isinstance(record, Unreadable)


@pytest.mark.parametrize("codec", [*range(1, 8)])
def test_what_cannot_be_decompressed_is_unreadable(codec: int) -> None:
    made = batch(ROWS)
    made[61:] = b"no compressed bytes at all"
    made[22] |= codec
    (bad,) = read(signed(made))
    assert isinstance(bad, Unreadable) and bad.offset == 2 and bad.value == bytes(made)


def test_a_checksum_that_does_not_fit_is_fetched_again_before_it_is_unreadable() -> None:
    damaged = batch(ROWS, first=70)
    damaged[100] ^= 1
    data = bytes(batch(ROWS, first=67) + damaged)
    for _ in range(reader.CRC_TRIES - 1):
        part = records(data, at=67)
        assert [r.offset for r in part] == [67, 68, 69] and part.next_fetch_offset == 70
    *_, bad = read(data, at=67)
    assert isinstance(bad, Unreadable) and "checksum" in bad.why and bad.value == bytes(damaged)


def test_messages_of_before_kafka_011_are_read() -> None:
    builder = LegacyRecordBatchBuilder(1, 1, 1 << 20)
    for number in range(3):
        builder.append(number, 1000, b"k", b"v%d" % number)
    assert [r.value for r in read(bytes(builder.build()))] == [b"v0", b"v1", b"v2"]


def test_a_batch_cut_by_the_broker_is_left_for_the_next_fetch() -> None:
    whole = bytes(batch(ROWS))
    part = records(whole + whole[:40])
    assert [r.offset for r in part] == [0, 1, 2] and part.next_fetch_offset == 3
    assert not Batches(whole[:11]).has_next() and not Batches(None).has_next()


@pytest.mark.parametrize("length", [-1, -(1 << 31), 0, 5])
def test_a_length_that_none_can_have_is_the_brokers_fault(length: int) -> None:
    made = batch(ROWS)
    struct.pack_into(">i", made, 8, length)
    with pytest.raises(CorruptRecordException):
        read(bytes(made))


@given(st.data())
def test_whatever_is_damaged_the_rest_goes_on_and_every_record_is_there(data: Any) -> None:
    made = batch(ROWS * 2)
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(61, len(made) - 1))] = data.draw(st.integers(0, 255))
    codec = data.draw(st.sampled_from(list(CODECS.values())))
    part = records(compressed(made, codec) + bytes(batch(ROWS, first=6)))
    found = list(part)
    assert [said(r) for r in found[-3:]] == ROWS and part.next_fetch_offset == 9
    whole = [r for r in found if isinstance(r, Unreadable) and r.why.startswith("the batch")]
    assert whole or len(found) == 9


def test_a_read_ends_where_it_has_taken_so_many_bytes_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = b"".join(bytes(batch([(b"a", b"x" * 1000, [])] * 3, first=3 * n)) for n in range(5))
    monkeypatch.setattr(reader, "MAX_READ_BYTES", 7000)
    state = SimpleNamespace(position=0, paused=False)
    state.consumed_to = lambda at: setattr(state, "position", at)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    result = reader.RunResult(TP, assignment=assignment, partition_records=records(data), backoff=0)
    runs: list[Any] = []
    while result.has_more():
        assignment.room = reader.MAX_READ_BYTES
        runs.append(result.getall())
        assert result.getall() == [] or not result.has_more(), "no room is left until the next read"
    assert [r.offset for run in runs for r in run] == list(range(15)) and len(runs) > 1
    assert all(before.end == after.start for before, after in pairwise(runs))


def test_a_fetcher_that_failed_says_so_to_who_waits_and_who_comes_later() -> None:
    async def story() -> None:
        made = reader.Fetcher.__new__(reader.Fetcher)
        made._fetch_waiters = {asyncio.get_running_loop().create_future()}

        async def fail() -> None:
            raise KafkaError("Unexpected error")

        made._fetch_task = asyncio.create_task(fail())
        made._fetch_task.add_done_callback(lambda _: made._fail_waiting())
        (waiter,) = made._fetch_waiters
        with pytest.raises(KafkaError):
            await asyncio.wait_for(waiter, 5)
        for ask in (made.fetched_records([]), made.next_record([])):
            with pytest.raises(KafkaError):
                await ask

    asyncio.run(story())


@pytest.fixture(autouse=True)
def _no_tries_of_other_tests() -> Iterator[None]:
    reader._crc_tries.clear()
    yield
