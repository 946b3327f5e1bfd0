"""Kafka's record batches to records, whatever a batch holds.

What cannot be read is a value and keeps its place.

aiokafka's parser ends its consumer at a header name that is not UTF-8, and takes all the memory
that a compressed batch asks for. Here a batch is decompressed up to a bound, and one that
aiokafka's parser refuses is read record by record: each says its length. Pure. The format:
https://kafka.apache.org/documentation/#recordbatch
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import cramjam
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from msgspec import Struct

MAX_BATCH_BYTES = 64 << 20
"""Largest decompressed batch: it bounds memory, and the time that a bomb takes."""
REFUSED = (ValueError, OverflowError, SystemError, CorruptRecordException)
"""What the parsers raise where bytes are not what they should be."""

Bytes: TypeAlias = bytes | bytearray | memoryview

_OVERHEAD, _SHORTEST = 12, 26
_MAGIC_AT, _ATTRIBUTES_AT, _COUNT_AT, _HEADER = 16, 22, 57, 61
_CODEC = 7
_SNAPPY = 2
_STREAMED = {1: cramjam.gzip, 3: cramjam.lz4, 4: cramjam.zstd}
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER = 16
_FIRST_GUESS, _USUAL_RATIO = 64 << 10, 8
_OUTPUT_IS_FULL = "failed to write whole buffer"


RecordHeaders: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Record(Struct, gc=False):
    """A record as aiokafka's looks, without what nobody asks for.

    The garbage collector leaves out those that wait.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Unix milliseconds."""
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


class Unreadable(Record, gc=False):
    """Stands where a record, or a whole batch, cannot be read.

    Its value is the bytes of the log.

    A record's are the record without its length, decompressed. A batch's are all of it, as the
    broker keeps it, and its offset is the batch's last.
    """

    why: str = ""


Fetch: TypeAlias = dict[ClientPartition, list[Record | Unreadable]]
"""What a consumer's `getmany` returns; what cannot be read is among it."""


def key_of(record: Record) -> bytes:
    """The key of a record that has one.

    It was looked at before, or the topic is compacted: there a broker takes no record without.
    """
    assert record.key is not None, f"{record.topic}-{record.partition}: a record without a key"
    return record.key


class Batches:
    """The batches of a fetched partition, in place of aiokafka's `MemoryRecords`."""

    def __init__(self, fetched: bytes | None) -> None:
        self._fetched, self._at = memoryview(fetched or b""), 0

    def size_in_bytes(self) -> int:
        """Bytes fetched."""
        return len(self._fetched)

    def has_next(self) -> bool:
        """Whether a whole batch follows; a broker may cut the last one."""
        return self._at + _OVERHEAD <= len(self._fetched) and self._end() <= len(self._fetched)

    def next_batch(self) -> memoryview:
        """Read the next batch.

        Raises:
            CorruptRecordException: it says a length that none can have.
        """
        start, end = self._at, self._end()
        if end - start < _SHORTEST:
            raise CorruptRecordException(f"the broker sent a batch of {end - start} bytes")
        self._at = end
        return self._fetched[start:end]

    def _end(self) -> int:
        length = int.from_bytes(
            self._fetched[self._at + 8 : self._at + _OVERHEAD], "big", signed=True
        )
        return self._at + _OVERHEAD + length


def parser(batch: Bytes) -> Any:
    """Parse a batch as aiokafka does.

    Returns what its header says, and its records where they are not compressed.
    """
    magic = batch[_MAGIC_AT]
    return LegacyRecordBatch(batch, magic) if magic < 2 else DefaultRecordBatch(batch)


def uncompressed(batch: memoryview) -> Bytes:
    """Return the batch with its records decompressed.

    A batch that is not compressed, or of before Kafka 0.11, is returned as it is.

    Raises:
        ValueError: it is damaged, or would become larger than `MAX_BATCH_BYTES`.
    """
    codec = batch[_ATTRIBUTES_AT] & _CODEC
    if batch[_MAGIC_AT] < 2 or not codec:
        return batch
    try:
        made = _decompress(codec, batch[_HEADER:])
    except cramjam.DecompressionError as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    made[:_HEADER] = batch[:_HEADER]
    made[_ATTRIBUTES_AT] &= ~_CODEC
    return made


def _decompress(codec: int, body: memoryview) -> bytearray:
    """Decompressed records, behind room for the header."""
    if codec == _SNAPPY:
        return _decompress_snappy(body)
    if codec not in _STREAMED:
        raise ValueError(f"its compression {codec} is unknown")
    size = min(max(_FIRST_GUESS, _USUAL_RATIO * len(body)), MAX_BATCH_BYTES)
    while (made := _decompress_into(bytearray(_HEADER + size), _STREAMED[codec], body)) is None:
        if size == MAX_BATCH_BYTES:
            raise _too_large()
        size = min(4 * size, MAX_BATCH_BYTES)
    return made


def _decompress_into(made: bytearray, codec: Any, body: memoryview) -> bytearray | None:
    """What was given, filled and cut to size; None where it is too small."""
    try:
        with memoryview(made) as whole, whole[_HEADER:] as room:
            size = codec.decompress_into(body, room)
    except cramjam.DecompressionError as error:
        if str(error) == _OUTPUT_IS_FULL:
            return None
        raise
    del made[_HEADER + size :]
    return made


def _decompress_snappy(body: memoryview) -> bytearray:
    """Decompress one block, as librdkafka makes it, or Java's framing (xerial).

    A block says how long it will be.
    """
    made = bytearray(_HEADER)
    for block in _xerial_blocks(body) if body[: len(_XERIAL)] == _XERIAL else [body]:
        at, size = len(made), cramjam.snappy.decompress_raw_len(block)
        if at + size - _HEADER > MAX_BATCH_BYTES:
            raise _too_large()
        made += bytes(size)
        with memoryview(made) as whole, whole[at:] as room:
            cramjam.snappy.decompress_raw_into(block, room)
    return made


def _xerial_blocks(body: memoryview) -> Iterator[memoryview]:
    at = _XERIAL_HEADER
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        yield body[at + 4 : at + 4 + size]
        at += 4 + size


def _too_large() -> ValueError:
    return ValueError(f"decompressed it has more than {MAX_BATCH_BYTES} bytes")


def salvage(topic: str, partition: int, batch: Bytes) -> Iterator[Record]:
    """Read the records of a batch that is not compressed, in order.

    One that cannot be read is `Unreadable`.

    Raises:
        ValueError: from here on the records cannot be separated.
    """
    if batch[_MAGIC_AT] < 2:
        raise ValueError("it is of a format of before Kafka 0.11")
    header = parser(batch)
    fields, before = _Fields(memoryview(batch)[_HEADER:]), header.base_offset - 1
    for _ in range(int.from_bytes(batch[_COUNT_AT:_HEADER], "big")):
        try:
            raw = fields.counted()
        except IndexError:
            raw = None
        if raw is None:
            raise ValueError("a record says a length that it does not have")
        record = _salvaged(topic, partition, raw, header, before + 1)
        if not before < record.offset < header.next_offset:
            raise ValueError("the offsets of its records are not in order")
        before = record.offset
        yield record
    if fields.left():
        raise ValueError(f"{fields.left()} bytes follow its last record")


def _salvaged(topic: str, partition: int, raw: memoryview, batch: Any, offset: int) -> Record:
    fields, key, timestamp = _Fields(raw), None, batch.max_timestamp
    try:
        fields.skip(1)  # attributes, of which there are none yet
        delta = fields.number()
        timestamp = batch.max_timestamp if batch.timestamp_type else batch.first_timestamp + delta
        offset = batch.base_offset + fields.number()
        key, value = fields.octets(), fields.octets()
        headers = [(fields.name(), fields.octets()) for _ in range(fields.number())]
        if fields.left():
            raise ValueError(f"{fields.left()} bytes follow its last header")
    except (ValueError, IndexError) as error:
        why = str(error) if isinstance(error, ValueError) else "it ends too early"
        where = (topic, partition, offset, timestamp, batch.timestamp_type)
        return Unreadable(*where, key, bytes(raw), (), f"the record cannot be read: {why}")
    where = (topic, partition, offset, timestamp, batch.timestamp_type)
    return Record(*where, key, value, tuple(headers))


def unreadable(
    topic: str, partition: int, batch: memoryview, first: int, why: Exception
) -> Unreadable:
    """A whole batch that cannot be read, from offset `first` on."""
    header = parser(batch)
    last, timestamp = header.next_offset - 1, getattr(header, "max_timestamp", -1)
    detail = f"the batch of the offsets {first} to {last} cannot be read: {why}"
    return Unreadable(topic, partition, last, timestamp, 0, None, bytes(batch), (), detail)


class _Fields:
    """Reads a record's fields one after the other; raises IndexError where it ends too early."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def left(self) -> int:
        return len(self._data) - self._at

    def skip(self, count: int) -> None:
        self._at += count

    def number(self) -> int:
        """A signed number of variable length (zigzag), at most 64 bits."""
        value = shift = 0
        while shift < 64:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return (value >> 1) ^ -(value & 1)
        raise ValueError("a number has more than 64 bits")

    def counted(self) -> memoryview | None:
        """Bytes that follow their number; None where it is negative."""
        size = self.number()
        if size > self.left():
            raise IndexError
        self._at += max(size, 0)
        return self._data[self._at - size : self._at] if size >= 0 else None

    def octets(self) -> bytes | None:
        found = self.counted()
        return None if found is None else bytes(found)

    def name(self) -> str:
        found = self.octets()
        try:
            return (found or b"").decode()
        except UnicodeDecodeError:
            raise ValueError("the name of a header is not UTF-8") from None
