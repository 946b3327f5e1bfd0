"""`pprm tail`: watch a topic, as a table on a terminal and as JSON lines in a pipe."""

import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.live import Live
from rich.table import Table

from worker.topics import partition_counts

ROWS = 20
"""Newest records kept in the table."""


async def tail(client: Mapping[str, Any], topic: str, user: str | None = None, from_beginning: bool = False) -> None:
    """Print a topic's records, those of one user where named, until cancelled."""
    stream = records(client, topic, from_beginning)
    wanted = (record async for record in stream if user is None or record.key == user.encode())
    if not sys.stdout.isatty():
        async for record in wanted:
            print(orjson.dumps(as_dict(record)).decode(), flush=True)
        return
    newest: deque[Any] = deque(maxlen=ROWS)
    with Live(_table(topic, newest), auto_refresh=False) as live:
        async for record in wanted:
            newest.append(record)
            live.update(_table(topic, newest), refresh=True)


async def records(client: Mapping[str, Any], topic: str, from_beginning: bool) -> AsyncIterator[Any]:
    """Read a topic without a consumer group: nothing is committed, nobody's position moves.

    Raises:
        LookupError: the topic does not exist.
    """
    consumer = AIOKafkaConsumer(enable_auto_commit=False, group_id=None, **client)
    await consumer.start()
    try:
        # not consumer.partitions_for_topic: it does not know a topic that was never subscribed
        count = (await partition_counts(client, [topic]))[topic]
        if not count:
            raise LookupError(f"topic {topic} does not exist: run `pprm topics create`, or check topics.prefix")
        consumer.assign([TopicPartition(topic, number) for number in range(count)])
        await (consumer.seek_to_beginning() if from_beginning else consumer.seek_to_end())
        async for record in consumer:
            yield record
    finally:
        await consumer.stop()


def as_dict(record: Any) -> dict[str, Any]:
    """A record as JSON can hold it; bytes that are no JSON come as text with replacement characters."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": {name: (value or b"").decode(errors="replace") for name, value in record.headers},
        "value": _value(record.value),
    }


def _value(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.decode(errors="replace")


def _table(topic: str, newest: deque[Any]) -> Table:
    table = Table("partition", "offset", "key", "record", title=topic, expand=True)
    for record in newest:
        said = as_dict(record)
        table.add_row(str(record.partition), str(record.offset), said["key"], summary(said))
    return table


def summary(said: Mapping[str, Any]) -> str:
    """One line on a record: a list's products, a dead letter's reason, else the value itself."""
    value, headers = said["value"], said["headers"]
    if isinstance(value, dict) and isinstance(items := value.get("items"), list):
        return ", ".join(str(item.get("product_id")) for item in items if isinstance(item, dict))
    if "reason" in headers:
        return f"{headers['reason']}: {headers.get('detail', '')}"
    return orjson.dumps(value).decode()[:200]
