"""The contenders, each a process of its own: `python -m benchmarks.stream.contenders NAME JOB`.

All read committed records, wait up to `job.FETCH_WAIT_MS` for a fetch, produce with acks=all and
without lingering, and commit about once a second what is acknowledged. Each does it as its library
is meant to be used:

ours            the real worker, its model replaced by a stub ours_rekeying   the same with
`topics.partitioner = any`: half of the shoppers lie in another partition than murmur2's plain_faust
one agent, event by event: `table[key] = value` and `topic.send` quix            Quix Streams: a
stateful `apply` and `to_topic`; state and offsets go out at its checkpoints raw_send_batch  an
aiokafka loop: a `getmany`, two `send_batch` a partition, all awaited. States in a dict, nothing
else confluent       a confluent-kafka loop: a `consume`, a `produce` a record, a `flush`. States in
a dict, nothing else

The two loops tune the garbage collector as our worker does, since whoever writes such a loop would
find that out.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.stream.job import (
    COMMIT_SECONDS,
    FETCH_WAIT_MS,
    PARTITIONS,
    SESSION_SECONDS,
    Job,
    Record,
    Row,
    by_shopper,
    read,
    update,
    utc,
)
from schemas.families import FAMILIES
from worker.runtime import collector
from worker.settings import Partitioner

BATCH = 4000
"""Records that the loops take at a time: as many as our worker does."""
LIBRDKAFKA_CONSUMER = {
    "fetch.wait.max.ms": FETCH_WAIT_MS,
    "isolation.level": "read_committed",
    "session.timeout.ms": SESSION_SECONDS * 1000,
}
LIBRDKAFKA_PRODUCER = {"acks": "all", "linger.ms": 0}


def ours_rekeying(job: Job) -> None:
    """The worker where half of the events go through the broker once more."""
    ours(job, "any")


def ours(job: Job, partitioner: Partitioner = "murmur2") -> None:
    """The worker as `pprm worker` runs it."""
    from benchmarks import stub_worker
    from worker import app
    from worker.settings import load

    stub_worker.install()
    settings = load(
        {
            "app_id": job.group,
            "kafka": {
                "bootstrap_servers": job.broker,
                "commit_interval_seconds": COMMIT_SECONDS,
                "session_timeout_seconds": SESSION_SECONDS,
            },
            "topics": topics(job) | {"partitioner": partitioner},
            "state": {"directory": job.directory},
            "http": {"port": 0},
            "log": {"level": "WARNING"},
            # the stub knows no product; the others make no list unasked
            "recommendations": {"empty_catalogue": True, "refresh_hours": 0},
        }
    )
    app.run(settings)


def topics(job: Job) -> dict[str, Any]:
    """Settings of our topics: the input is everybody's, the rest is this run's own."""
    return {
        **{family: f"{job.group}-{family}" for family in FAMILIES},
        "purchases": job.source,
        "recommendations": job.output,
        "partitions": PARTITIONS,
    }


def plain_faust(job: Job) -> None:
    """As Faust's documentation writes it; only the fetch's wait is set where it has no setting."""
    import faust
    from faust.transport.drivers import aiokafka as driver

    app = faust.App(
        job.group, broker=f"kafka://{job.broker}", store="rocksdb://?driver=rocksdict",
        datadir=job.directory,
        topic_partitions=PARTITIONS, topic_replication_factor=1, topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=COMMIT_SECONDS, broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=1,
        producer_acks=-1, producer_linger=0, consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )  # fmt: skip
    raw = {
        "key_type": bytes,
        "value_type": bytes,
        "key_serializer": "raw",
        "value_serializer": "raw",
    }
    source, output = app.topic(job.source, **raw), app.topic(job.output, **raw)
    states = app.Table(
        "states",
        schema=faust.Schema(**raw),
        key_type=bytes,
        value_type=bytes,
        partitions=PARTITIONS,
    )
    create = driver.AIOKafkaConsumerThread._create_worker_consumer

    def waiting(self: Any, transport: Any) -> Any:
        consumer = create(self, transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    driver.AIOKafkaConsumerThread._create_worker_consumer = waiting

    @app.agent(source)  # type: ignore[untyped-decorator]
    async def answer(stream: Any) -> None:
        async for event in stream.events():
            m = event.message
            record = Record(m.topic, m.partition, m.offset, m.key, m.value, int(m.timestamp * 1000))
            states[m.key], row = update(
                states.get(m.key), [(record, read(record, time.time()))], utc()
            )
            await output.send(key=row.key, value=row.value, headers=row.headers)

    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


def quix(job: Job) -> None:
    """As Quix's documentation writes it."""
    from quixstreams import Application, State, message_context

    app = Application(
        job.broker, consumer_group=job.group, auto_offset_reset="earliest", state_dir=job.directory,
        commit_interval=COMMIT_SECONDS, loglevel="WARNING", auto_create_topics=True,
        consumer_extra_config=LIBRDKAFKA_CONSUMER, producer_extra_config=LIBRDKAFKA_PRODUCER,
    )  # fmt: skip
    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    source = app.topic(job.source, **raw)
    output = app.topic(job.output, key_serializer="bytes", value_serializer="bytes")

    def answer(value: bytes, key: bytes, timestamp: int, headers: Any, state: State) -> Row:
        at = message_context()
        record = Record(at.topic, at.partition, at.offset, key, value, timestamp)
        new, row = update(state.get_bytes("state"), [(record, read(record, time.time()))], utc())
        state.set_bytes("state", new)
        return row

    rows = app.dataframe(source).apply(answer, stateful=True, metadata=True)
    rows = rows.set_headers(lambda row, *_: row.headers).apply(lambda row: row.value)
    rows.to_topic(output)
    app.run()


def raw_send_batch(job: Job) -> None:
    """The least that can be done with aiokafka."""
    collector.freeze_heap()
    asyncio.run(_raw_send_batch(job))


async def _raw_send_batch(job: Job) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    consumer = AIOKafkaConsumer(
        job.source, bootstrap_servers=job.broker, group_id=job.group, auto_offset_reset="earliest",
        enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS, isolation_level="read_committed",
        session_timeout_ms=SESSION_SECONDS * 1000, heartbeat_interval_ms=1000,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=job.broker, acks="all", linger_ms=0, max_batch_size=512 * 1024
    )
    states: dict[bytes, bytes] = {}
    async with consumer, producer:
        committed = time.monotonic()
        while True:
            fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=BATCH)
            sent = []
            for tp, records in fetched.items():
                changes, lists = _work(states, records)
                sent += await _send(producer, job.changelog, tp.partition, changes)
                sent += await _send(producer, job.output, tp.partition, lists)
            await asyncio.gather(*sent)
            if time.monotonic() - committed > COMMIT_SECONDS:
                await consumer.commit()
                committed = time.monotonic()


def _work(states: dict[bytes, bytes], records: Sequence[Any]) -> tuple[list[Row], list[Row]]:
    """What a loop does with the records of a partition: rows of the changelog and of the output."""
    changes, lists, now = [], [], utc()
    for key, received in by_shopper(records, time.time()).items():
        states[key], row = update(states.get(key), received, now)
        changes.append(Row(key, states[key], []))
        lists.append(row)
    return changes, lists


async def _send(producer: Any, topic: str, partition: int, rows: Iterable[Row]) -> list[Any]:
    futures, batch = [], producer.create_batch()
    for row in rows:
        record = {"key": row.key, "value": row.value, "timestamp": None, "headers": row.headers}
        if batch.append(**record) is None:
            futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(**record)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, topic, partition=partition))
    return futures


def confluent(job: Job) -> None:
    """The least that can be done with librdkafka."""
    collector.freeze_heap()
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {"bootstrap.servers": job.broker, "group.id": job.group, "auto.offset.reset": "earliest",
         "enable.auto.commit": False, **LIBRDKAFKA_CONSUMER}
    )  # fmt: skip
    producer = Producer(
        {
            "bootstrap.servers": job.broker,
            "queue.buffering.max.messages": 10 * BATCH,
            **LIBRDKAFKA_PRODUCER,
        }
    )
    consumer.subscribe([job.source])
    states: dict[bytes, bytes] = {}
    committed, changed = time.monotonic(), False
    failed: list[Any] = []
    while True:
        fetched = defaultdict(list)
        for m in consumer.consume(BATCH, FETCH_WAIT_MS / 1000):
            fetched[m.partition()].append(
                Record(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.timestamp()[1])
            )
        for partition, records in fetched.items():
            for topic, rows in zip(
                (job.changelog, job.output), _work(states, records), strict=True
            ):
                for row in rows:
                    producer.produce(
                        topic, row.value, row.key, partition, headers=row.headers,
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                    )  # fmt: skip
        producer.flush()
        assert not failed, failed
        changed = changed or bool(fetched)
        if changed and time.monotonic() - committed > COMMIT_SECONDS:
            consumer.commit(asynchronous=False)
            committed, changed = time.monotonic(), False


CONTENDERS: dict[str, Callable[[Job], None]] = {
    "ours": ours, "ours_rekeying": ours_rekeying, "raw_send_batch": raw_send_batch,
    "confluent": confluent,
    "quix": quix, "plain_faust": plain_faust,
}  # fmt: skip
OURS = ("ours", "ours_rekeying")


def changelog(name: str, group: str, source: str) -> str:
    """The changelog's name as each library forms it; a loop may choose."""
    forms = dict.fromkeys(OURS, f"{group}-user_state-changelog") | {
        "quix": f"changelog__{group}--{source}--default"
    }
    return forms.get(name, f"{group}-states-changelog")


def state_of(name: str, key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The shopper and the state of a changelog record; Quix adds its own to both."""
    return (key.split(b"|")[0], value) if name == "quix" else (key, value)


if __name__ == "__main__":
    Path(json.loads(sys.argv[2])["directory"]).mkdir(parents=True, exist_ok=True)
    CONTENDERS[sys.argv[1]](Job(**json.loads(sys.argv[2])))
