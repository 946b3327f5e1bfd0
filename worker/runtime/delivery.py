"""Producing the rows of a micro-batch as Kafka batches, and waiting until the broker holds them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]
ACK_TIMEOUT = 60.0
"""Seconds a broker may take to acknowledge before the worker gives up and exits with nothing committed."""


class Row(NamedTuple):
    """One record to produce."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Sent(NamedTuple):
    """A Kafka batch on its way: a future of its metadata and the number of its records."""

    future: "asyncio.Future[Any]"
    records: int


async def send_rows(producer: Any, topic: str, partition: int, rows: Iterable[Row]) -> list[Sent]:
    """Hand rows to an aiokafka producer as few batches as they fit in, in order.

    A row larger than the producer's batch size goes out alone: whether it is too large is the broker's to say.
    """
    sent: list[Sent] = []
    batch = producer.create_batch()
    for row in rows:
        if not _append(batch, row):
            sent.append(await _send(producer, topic, partition, batch))
            batch = producer.create_batch()
            _append(batch, row)  # the first row of a batch is always taken
    if batch.record_count():
        sent.append(await _send(producer, topic, partition, batch))
    return sent


def _append(batch: Any, row: Row) -> bool:
    return batch.append(key=row.key, value=row.value, timestamp=None, headers=list(row.headers)) is not None


async def _send(producer: Any, topic: str, partition: int, batch: Any) -> Sent:
    count = batch.record_count()
    return Sent(await producer.send_batch(batch, topic, partition=partition), count)


async def acknowledged(sent: Iterable[Sent]) -> list[int]:
    """Wait for all acknowledgements; return each batch's last offset.

    Raises:
        TimeoutError: the broker did not answer within `ACK_TIMEOUT`.
        aiokafka.errors.KafkaError: it refused.
    """
    batches = list(sent)
    done = await asyncio.wait_for(asyncio.gather(*(batch.future for batch in batches)), ACK_TIMEOUT)
    return [metadata.offset + batch.records - 1 for metadata, batch in zip(done, batches, strict=True)]
