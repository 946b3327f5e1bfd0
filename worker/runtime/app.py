"""The Faust app with our runtime put in: transport, stream, table, recovery."""

import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from worker.runtime.delivery import Delivery
from worker.runtime.ledger import TopicPartition
from worker.runtime.listener import RuntimeListener
from worker.runtime.records import RangeScheduler, RawSchema
from worker.runtime.stream import LedgerStream
from worker.runtime.table import BatchTable, Covered, Memory

METADATA_SECONDS = 5
"""After so long the group's leader sees that a topic came, went or grew, and assigns anew."""
NO_LIMIT = 1 << 20
"""Size of Faust's channels, which is never reached: the consumer has a limit of its own."""


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_web = False  # the `faust` command turns it on; its pages show tables to whoever asks

    def server(self) -> Iterable[Any]:
        services: Iterable[Any] = self._chain(self.app.before_kafka, super().server())
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


class StateTable(NamedTuple):
    """The table of states, as it is to be made."""

    name: str
    partitions: int
    """As set; `RuntimeApp.found_partitions` says how many there are."""
    memory: int = 256 << 20
    """Bytes for caches and write buffers, of all partitions together."""


class RuntimeApp(faust.App):  # type: ignore[misc]
    """A Faust app whose consumer keeps the offset ledger. See `create`."""

    BootStrategy = _Boot

    def __init__(
        self,
        app_id: str,
        *,
        client: Mapping[str, Any],
        table: StateTable,
        keyed: frozenset[str],
        listener: RuntimeListener,
        delivery: Delivery,
        accepts_lost_states: bool,
        **options: Any,
    ) -> None:
        self.kafka_client_settings = client
        self.keyed, self.listener, self.delivery = keyed, listener, delivery
        self.accepts_lost_states = accepts_lost_states
        self.partitions = table.partitions
        self.before_kafka: tuple[Service, ...] = ()
        super().__init__(app_id, **options)
        self.state_table = self._make_table(table)

    def _make_table(self, table: StateTable) -> BatchTable:
        raw = faust.Schema(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        made: BatchTable = self.Table(
            table.name, partitions=table.partitions, schema=raw, key_type=bytes, value_type=bytes,
            options={"memory": Memory(table.memory)},
        )  # fmt: skip
        return made

    def start_before_kafka(self, services: Iterable[Service]) -> None:
        """Start these before, and stop them after, everything that talks to Kafka.

        Most of them need the app themselves, so they come when it is made.
        """
        self.before_kafka = tuple(services)

    def found_partitions(self, partitions: int) -> None:
        """The table has so many partitions: its changelog was found on the broker."""
        self.partitions = partitions

    def read(
        self, topics: Sequence[str], name: str, agent: Callable[[LedgerStream], Awaitable[None]]
    ) -> None:
        """Have an agent read these topics, as one stream of ranges of raw records."""
        raw = RawSchema(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self.agent(self.topic(*topics, schema=raw, acks=False), name=name)(agent)

    @property
    def waiting_records(self) -> int:
        """How many records were fetched and wait for a micro-batch."""
        return sum(map(LedgerConsumer.waiting_records, self.topics))

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
        """The first of `before_kafka` makes them, and says so when it cannot."""

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
    client: Mapping[str, Any],
    directory: Path,
    *,
    table: StateTable,
    keyed: frozenset[str],
    listener: RuntimeListener,
    delivery: Delivery,
    accepts_lost_states: bool,
    session_timeout: float,
    commit_interval: float,
    instance_id: str | None,
) -> RuntimeApp:
    """Make the app, with its table.

    Args:
        app_id: consumer group.
        client: keyword arguments of an aiokafka client.
        directory: where the table lies.
        table: what all is folded into.
        keyed: input topics cut like the table: partitions of the same number belong together.
        listener: hears what happens.
        delivery: writes what a micro-batch makes.
        accepts_lost_states: start where the changelog has lost states and nobody has them.
        session_timeout: seconds that a silent worker keeps its partitions.
        commit_interval: seconds between commits; no matter where the delivery commits offsets.
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
    return RuntimeApp(
        app_id,
        client=client,
        table=table,
        keyed=keyed,
        listener=listener,
        delivery=delivery,
        accepts_lost_states=accepts_lost_states,
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


def _credentials(client: Mapping[str, Any]) -> Any:
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
