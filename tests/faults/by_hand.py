"""Kafka batches made by hand.

What no well-behaved client sends, and a broker takes all the same.
"""

import struct
import zlib
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

HEADER, LENGTH_AT, CRC_AT, ATTRIBUTES_AT = 61, 8, 17, 21
GZIP = 1
MIB = 1 << 20
NAME = b"in this place"
"""A header name that `misnamed` replaces."""


class ByHand(BatchBuilder):  # type: ignore[misc]
    """A batch whose bytes are ready."""

    def __init__(self, data: bytearray, records: int) -> None:
        super().__init__(1, 0)
        self._buffer, self._relative_offset = data, records


async def send(producer: AIOKafkaProducer, topic: str, partition: int, batch: ByHand) -> Any:
    """Send a batch; returns what the broker acknowledged, with the offset of its first record."""
    return await (await producer.send_batch(batch, topic, partition=partition))


def misnamed(
    rows: list[tuple[bytes, bytes | None, bool]], name: bytes = b"\xff\xfe", codec: int = 0
) -> ByHand:
    """Key, value and whether the record has a header of this name, which need not be UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    for number, (key, value, has_it) in enumerate(rows):
        builder.append(number, None, key, value, [(NAME.decode(), b"x")] if has_it else [])
    made = bytearray(builder.build())
    padded = name + b"\xff" * (len(NAME) - len(name))
    made = made.replace(NAME, padded)
    if codec:
        assert codec == GZIP
        made[HEADER:] = zlib.compress(bytes(made[HEADER:]), wbits=31)
        made[ATTRIBUTES_AT + 1] |= codec
    return ByHand(_signed(made), len(rows))


def bomb(key: bytes, mebibytes: int) -> ByHand:
    """One record of a value of so many MiB of zeros, in a gzip of a thousandth of that."""
    size = mebibytes * MIB
    front = _varints(0, 0, 0, len(key)) + key + _varints(size)
    back = _varints(0)
    packed = zlib.compressobj(9, wbits=31)
    body = packed.compress(_varints(len(front) + size + len(back)) + front)
    for _ in range(mebibytes):
        body += packed.compress(bytes(MIB))
    body += packed.compress(back) + packed.flush()
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, None, key, b"", [])
    made = bytearray(builder.build())[:HEADER] + body
    made[ATTRIBUTES_AT + 1] |= GZIP
    return ByHand(_signed(made), 1)


def _varints(*numbers: int) -> bytes:
    made = bytearray()
    for number in numbers:
        encode_varint(number, made.append)
    return bytes(made)


def _signed(made: bytearray) -> bytearray:
    struct.pack_into(">i", made, LENGTH_AT, len(made) - 12)
    struct.pack_into(">I", made, CRC_AT, calc_crc32c(bytes(made[ATTRIBUTES_AT:])))
    return made
