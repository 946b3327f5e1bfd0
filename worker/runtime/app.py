"""The Faust app with our runtime put in: transport, stream, table, recovery."""

import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
import uvloop
from faust import streams
from faust.app.base import BootStrategy
from mode import Service

from worker.kafka import reader
from worker.ops import descriptors, stop
from worker.ops.fatal import exit_now
from worker.runtime import metadata, recovery
from worker.runtime.assignor import TableAssignor
from worker.runtime.consumer import LedgerConsumer, LedgerTransport
from worker.runtime.delivery import AtLeastOnce, Delivery, ExactlyOnce
from worker.runtime.ledger import TopicPartition
from worker.runtime.listener import RuntimeListener
from worker.runtime.records import RangeScheduler, RawSchema
from worker.runtime.stream import LedgerStream
from worker.runtime.table import BatchTable, Covered, Memory

METADATA_SECONDS = 5
"""After so long the group's leader sees that a topic came, went or grew, and assigns anew."""
NO_LIMIT = 1 << 20
"""Of what waits in a Faust channel: the consumer has one of its own."""


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_web = False  # the `faust` command turns it on; its pages show tables to whoever asks

    def server(self) -> Iterable[Any]:
        services: Iterable[Any] = self._chain(self.app.services_before_kafka, super().server())
        return services


class _Worker(faust.Worker):  # type: ignore[misc]
    """The process. Stopped before it has joined its group, it ends at once.

    Logging and the standard streams are left alone: under `faust -A` every line became a WARNING of
    another format.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(
            *args,
            **options
            | {
                "loglevel": None,
                "override_logging": False,
                "redirect_stdouts": False,
                "quiet": True,
            },
        )
        self.spinner = None  # it writes to terminals, and its last word everywhere

    async def start(self) -> None:
        """Start; what fails here ends the process as anything else does."""
        try:
            await super().start()
        except Exception as error:
            exit_now("the worker cannot start", error)

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        consumer = self.app.consumer_or_none
        if consumer is None or not consumer.started:
            stop.end()
        super()._schedule_shutdown(number)


class RuntimeApp(faust.App):  # type: ignore[misc]
    """A Faust app whose consumer keeps the offset ledger. See `create`."""

    BootStrategy = _Boot
    services_before_kafka: Sequence[Service] = ()
    """Started before, and stopped after, everything that talks to Kafka."""
    delivery: Delivery
    kafka_client_settings: dict[str, Any]
    """Keyword arguments of plain aiokafka clients to the same broker."""
    state_table: BatchTable
    """The table that all is folded into."""
    keyed: frozenset[str] = frozenset()
    """Topics cut like it: partitions of the same number belong together."""
    partitions: int
    """Of the table: as many as its changelog has."""
    goes_on_without_lost_states: bool = False
    """Whether to start where the changelog has lost states and nobody has them."""

    def __init__(self, app_id: str, *, listener: RuntimeListener, **options: Any) -> None:
        self.listener = listener
        super().__init__(app_id, **options)

    @property
    def changelog(self) -> str:
        """Name of the table's changelog topic."""
        return str(self.state_table.changelog_topic_name)

    @property
    def consumer_or_none(self) -> LedgerConsumer | None:
        """The consumer, None before there is one; `consumer` makes one."""
        return self._consumer  # type: ignore[no-any-return]

    def on_anchored(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note in the table that its states hold all below these offsets.

        They were read back just now.
        """
        table, notes = self.state_table, self.consumer.notes
        covered = defaultdict[int, Covered](dict)
        for (topic, partition), offset in positions.items():
            if topic in self.keyed and partition in table.next_append:
                covered[partition][topic] = notes[topic, partition].log, offset
        for partition, topics in covered.items():
            table.cover(partition, topics)
            table.write(
                partition, {}, table.next_append[partition] - 1, table.generation(partition)
            )

    def _create_directories(self) -> None:
        """The first of `services_before_kafka` makes them, and says so when it cannot."""

    def _crash(self, reason: BaseException) -> None:
        """End the process where any part of Faust, or of a Kafka client, failed.

        Faust would end it with code 1.
        """
        if not self.should_stop:
            exit_now(
                "the worker cannot go on: what is not committed"
                " is read again when it is started again",
                reason,
            )
        super()._crash(reason)

    def _new_transport(self) -> LedgerTransport:
        return LedgerTransport(self.conf.broker_consumer, self)


def create(
    app_id: str,
    client: dict[str, Any],
    directory: Path,
    *,
    listener: RuntimeListener,
    exactly_once: bool,
    session_timeout: float,
    commit_interval: float,
    instance_id: str | None,
) -> RuntimeApp:
    """Make the app.

    Args:
        app_id: consumer group.
        client: keyword arguments of an aiokafka client.
        directory: where the tables lie.
        listener: is told what happens.
        exactly_once: write each micro-batch in a transaction.
        session_timeout: seconds that a silent worker keeps its partitions.
        commit_interval: seconds between commits; no matter with `exactly_once`.
        instance_id: a name that outlives restarts (static membership, KIP-345), or None.

    Raises:
        RuntimeError: Faust's compiled stream iterator is missing; the pure one acks events that it
        skips.
    """
    if streams._CStreamIterator is None:
        raise RuntimeError(
            "faust-streaming without its compiled extension"
            " loses events: unset NO_CYTHON and reinstall it"
        )
    metadata.install()
    recovery.install()
    reader.install()
    app = RuntimeApp(
        app_id,
        listener=listener,
        broker=[f"kafka://{server.strip()}" for server in client["bootstrap_servers"].split(",")],
        broker_credentials=_credentials(client),
        store="rocksdb://?driver=rocksdict",
        datadir=str(directory),
        autodiscover=False,
        web_enabled=False,
        web_tables_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=True,
        broker_session_timeout=session_timeout,
        broker_heartbeat_interval=session_timeout / 6,
        broker_request_timeout=max(40.0, session_timeout + 10),
        broker_rebalance_timeout=max(10.0, session_timeout),
        broker_commit_interval=commit_interval,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_SECONDS * 1000,
        stream_buffer_maxsize=NO_LIMIT,
        consumer_group_instance_id=instance_id,
        ConsumerScheduler=RangeScheduler,
        Stream=LedgerStream,
        Table=BatchTable,
        Worker=_Worker,
        PartitionAssignor=TableAssignor,
    )
    app.kafka_client_settings = client
    app.delivery = ExactlyOnce(client, app_id) if exactly_once else AtLeastOnce(client)
    return app


def source(app: RuntimeApp, topics: Sequence[str]) -> Any:
    """One channel over several topics whose values are ranges of raw records."""
    raw = RawSchema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    return app.topic(*topics, schema=raw, acks=False)


def table(app: RuntimeApp, name: str, partitions: int, memory: int = 256 << 20) -> BatchTable:
    """Make a table of raw bytes.

    All its partitions together take about `memory` bytes for caches and write buffers.
    """
    raw = faust.Schema(
        key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    made: BatchTable = app.Table(
        name, partitions=partitions, schema=raw, key_type=bytes, value_type=bytes,
        options={"memory": Memory(memory)},
    )  # fmt: skip
    app.state_table, app.partitions = made, partitions
    return made


def _credentials(client: dict[str, Any]) -> Any:
    context = client.get("ssl_context")
    if "sasl_plain_username" in client:
        return faust.SASLCredentials(
            username=client["sasl_plain_username"],
            password=client["sasl_plain_password"],
            mechanism=client["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


SWITCH_SECONDS = 0.0001
"""After so long a busy thread yields to another one: the event loop, or the model's.

By default it is fifty times that; with five times that, an event waited half as long again at 360
lists/s.
"""


def run(app: RuntimeApp) -> None:
    """Run a worker process for the app until SIGTERM or SIGINT.

    This ends the process, with code 1 after a crash.
    """
    descriptors.raise_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    # a micro-batch is dozens of small steps of the loop: with asyncio's own they take half as long
    # again
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    worker = _Worker(app)
    worker.execute_from_commandline()
