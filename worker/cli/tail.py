"""`pprm tail`: watch a topic, as a table on a terminal and as JSON lines in a pipe."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from time import monotonic, time
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from worker.kafka import reader
from worker.kafka.batches import Fetch, Record
from worker.kafka.topics import partition_counts

ROWS = 20
"""Newest records kept in the table."""
GONE_SECONDS = 10
"""So long a broker may be away, as when it is started again."""
SETTLE_SECONDS = 2.0
"""By so much clocks may differ, and so long a first fetch may bring what was there before."""


async def tail(
    client: Mapping[str, Any],
    topic: str,
    products: str,
    user: str | None = None,
    from_beginning: bool = False,
) -> None:
    """Print a topic's records, those of one user where named, until cancelled.

    `products` is the topic of titles.
    """
    stream = records(client, topic, from_beginning)
    wanted = (record async for record in stream if user is None or record.key == user.encode())
    if not sys.stdout.isatty():
        async for record in wanted:
            print(orjson.dumps(as_dict(record)).decode(), flush=True)
        return
    newest: deque[Record] = deque(maxlen=ROWS)
    titles: dict[str, str] = {}
    following = asyncio.create_task(follow_titles(client, products, titles))
    try:
        with Live(get_renderable=lambda: _table(topic, newest, titles)):
            async for record in wanted:
                newest.append(record)
    finally:
        following.cancel()


async def follow_titles(client: Mapping[str, Any], products: str, titles: dict[str, str]) -> None:
    """Keep the products' titles, by id.

    Where their topic is missing or may not be read, there are none.
    """
    with suppress(LookupError, ConnectionError, KafkaError):
        async for record in records(client, products, from_beginning=True):
            value, product = _value(record.value), (record.key or b"").decode(errors="replace")
            if isinstance(value, dict) and isinstance(title := value.get("title"), str) and title:
                titles[product] = title
            else:
                titles.pop(product, None)


async def records(
    client: Mapping[str, Any], topic: str, from_beginning: bool
) -> AsyncIterator[Record]:
    """Read a topic without a consumer group: nothing is committed, nobody's position moves.

    Raises:
        LookupError: the topic does not exist.
        ConnectionError: the broker went away.
    """
    consumer, began = reader.consumer(client), time()
    try:
        await consumer.start()
        # not consumer.partitions_for_topic: it does not know a topic that was never subscribed
        count = (await partition_counts(client, [topic]))[topic]
        if not count:
            raise LookupError(
                f"topic {topic} does not exist: run `pprm topics create`, or check topics.prefix"
            )
        consumer.assign([TopicPartition(topic, number) for number in range(count)])
        await (consumer.seek_to_beginning() if from_beginning else consumer.seek_to_end())
        async for record in _fetched(consumer):
            if from_beginning or not _was_there(record, began, time()):
                yield record
    finally:
        await consumer.stop()


async def _fetched(consumer: AIOKafkaConsumer) -> AsyncIterator[Record]:
    """What comes, as long as the broker is there: aiokafka would try for ever, and say nothing."""
    answered = monotonic()
    while True:
        fetched: Fetch = await consumer.getmany(timeout_ms=1000)
        for records in fetched.values():
            for record in records:
                yield record
        if fetched or await reader.client_of(consumer).force_metadata_update():
            answered = monotonic()
        elif monotonic() - answered > GONE_SECONDS:
            raise ConnectionError(f"the broker has not answered for {GONE_SECONDS} s: is it gone?")


def _was_there(record: Record, began: float, now: float) -> bool:
    """Whether a record that came first was there before: the embedded broker's ends fall short."""
    return now < began + SETTLE_SECONDS and record.timestamp < (began - SETTLE_SECONDS) * 1000


def as_dict(record: Record) -> dict[str, Any]:
    """Make of a record what JSON can hold.

    Bytes that are no JSON come as text with replacement characters.
    """
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": {
            name: (value or b"").decode(errors="replace") for name, value in record.headers
        },
        "value": _value(record.value),
    }


def _value(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.decode(errors="replace")


def _table(topic: str, newest: deque[Record], titles: Mapping[str, str]) -> Table:
    table = Table("partition", "offset", "key", "record", title=topic, expand=True)
    for record in reversed(newest):  # a terminal that is too low cuts the end off
        fields = as_dict(record)
        cells = (
            str(record.partition),
            str(record.offset),
            fields["key"] or "",
            summary(fields, titles),
        )
        table.add_row(*map(escape, cells))
    return table


def summary(fields: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Describe a record in one line.

    A list has its products by title and id, a dead letter its reason, another record its value.
    """
    value, headers = fields["value"], fields["headers"]
    if isinstance(value, dict) and isinstance(items := value.get("items"), list):
        return ", ".join(
            _named(str(item.get("product_id")), titles) for item in items if isinstance(item, dict)
        )
    if "reason" in headers:
        return f"{headers['reason']}: {headers.get('detail', '')}"
    return orjson.dumps(value).decode()[:200]


def _named(product: str, titles: Mapping[str, str]) -> str:
    return f"{titles[product]} ({product})" if product in titles else product
