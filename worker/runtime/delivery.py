"""Producing what a micro-batch writes, and waiting until the broker holds it.

It is done at least once, or in transactions.

`at_least_once` works on any broker. After a crash a micro-batch is done again: states cannot count
twice (watermarks), lists come out again, with the same version. `exactly_once` puts states, lists,
dead letters and source offsets of a micro-batch in one transaction per source partition; its
transactional id fences whoever held the partition before. Faust's own transactions are not used:
they choose the transaction by the destination and swallow errors.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as ClientPartition
from mode import Service

from pprm.core.errors import Foreseen
from worker.runtime.absence import is_away
from worker.runtime.ledger import TopicPartition

Headers: TypeAlias = Sequence[tuple[str, bytes]]

DEFAULT_LIMIT = 1_048_588
"""Bytes of a Kafka batch that a topic takes (`max.message.bytes`) where nobody has set it."""
MAX_BATCH_BYTES = 512 * 1024
"""Largest batch of several rows: above any one state or list, below the default limit."""
_NEVER = 10 * 365 * 86_400.0
START_TIMEOUT = 60.0
"""Seconds to get a transactional id: the broker first ends the last owner's transaction."""


class Row(NamedTuple):
    """One record to produce."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Append(NamedTuple):
    """A Kafka batch that the broker holds: offset of its first record, number of its records."""

    offset: int
    records: int

    @property
    def end(self) -> int:
        """The offset after its last record."""
        return self.offset + self.records


def row_bytes(row: Row) -> int:
    """Return the most bytes that a row takes in Kafka's log, as a batch of its own.

    They include key, value, headers and framing.
    """
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        row.key, row.value, list(row.headers)
    )
    return size


Limits: TypeAlias = Mapping[str, int]
"""Bytes of the largest Kafka batch that each topic takes."""
Rows: TypeAlias = Mapping[TopicPartition, Sequence[Row]]
Offsets: TypeAlias = Mapping[TopicPartition, OffsetAndMetadata]
Appends: TypeAlias = dict[TopicPartition, list[Append]]


class NotOurs(Exception):
    """The partition went to another worker while its micro-batch was written.

    Nothing of it counts.
    """


class DeliveryError(Foreseen, RuntimeError):
    """The broker cannot do what the delivery promises; the message says what to change."""


class Delivery(Protocol):
    """How a micro-batch is written."""

    commits_offsets: bool
    """Whether `write` commits the source offsets, too."""
    limits: Limits
    """Of the topics that are written to, as far as they are known."""

    async def own(self, units: Iterable[str]) -> None:
        """Take over these units of work.

        With transactions, whoever held them before can write no more.
        """

    async def ask_for_partitions(self) -> None:
        """Have the producers learn what partitions there are now."""

    async def write(self, unit: str, rows: Rows, offsets: Offsets, ours: "Ours") -> Appends:
        """Write the rows of a unit of work and wait until the broker holds them.

        Args:
            unit: a source partition, or those that are worked on together.
            rows: what to append, by topic and partition.
            offsets: source offsets from which to go on afterwards.
            ours: whether the unit is still this worker's.

        Raises:
            NotOurs: it is not, and nothing counts.
            aiokafka.errors.KafkaError: the broker refused.
        """


Ours: TypeAlias = Callable[[], bool]


class AtLeastOnce(Service):  # type: ignore[misc]
    """One producer; offsets are committed later, from the ledger."""

    commits_offsets = False

    def __init__(self, client: Mapping[str, Any]) -> None:
        self.client = client
        self.limits: Limits = {}
        super().__init__()

    async def on_start(self) -> None:
        """Connect."""
        self._producer = await _started(AIOKafkaProducer(**_options(self.client)))

    async def on_stop(self) -> None:
        """Send what waits, and disconnect."""
        await self._producer.stop()

    async def own(self, units: Iterable[str]) -> None:
        """Do nothing: without transactions nobody can be kept from writing.

        Foreign records are found and replaced, see `worker.runtime.changelog`.
        """

    async def ask_for_partitions(self) -> None:
        """Ask the broker."""
        await self._producer.client.force_metadata_update()

    async def write(self, unit: str, rows: Rows, offsets: Offsets, ours: Ours) -> Appends:
        """Write; see `Delivery.write`. Waits as long as the broker is away."""
        return await append_rows(self._producer, rows, self.limits)


class ExactlyOnce(Service):  # type: ignore[misc]
    """One transactional producer per unit of work, one transaction per micro-batch."""

    commits_offsets = True

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        self.client, self.group = client, group
        self.limits: Limits = {}
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._busy: set[str] = set()
        super().__init__()

    async def on_stop(self) -> None:
        """Disconnect; the broker aborts what is open."""
        await self._drop(list(self._producers))

    async def own(self, units: Iterable[str]) -> None:
        """Start a producer per unit.

        Its transactional id ends the last owner's transaction and fences it.
        """
        wanted = set(units)
        # one that is busy may be in the middle of a transaction: a new producer of its id ends that
        await self._drop(
            [unit for unit in self._producers if unit not in wanted or unit in self._busy]
        )
        new = sorted(wanted - self._producers.keys())
        started = await asyncio.gather(*(self._start(unit) for unit in new))
        self._producers.update(zip(new, started, strict=True))

    async def ask_for_partitions(self) -> None:
        """Ask the broker, each producer for itself."""
        asked = (producer.client.force_metadata_update() for producer in self._producers.values())
        await asyncio.gather(*asked)

    async def write(self, unit: str, rows: Rows, offsets: Offsets, ours: Ours) -> Appends:
        """Write in one transaction with the offsets; see `Delivery.write`."""
        producer = self._producers.get(unit)
        if producer is None or not ours():
            raise NotOurs(unit)
        self._busy.add(unit)
        try:
            return await self._transaction(producer, rows, offsets, ours)
        except KafkaError as error:  # fenced, most likely
            if ours():
                raise
            raise NotOurs(unit) from error
        finally:
            self._busy.discard(unit)

    async def _transaction(
        self, producer: AIOKafkaProducer, rows: Rows, offsets: Offsets, ours: Ours
    ) -> Appends:
        await producer.begin_transaction()
        appends = await append_rows(producer, rows, self.limits)
        if positions := {ClientPartition(*tp): commit for tp, commit in offsets.items()}:
            await producer.send_offsets_to_transaction(positions, self.group)
        # the partition may have been given away while the broker acknowledged the rows
        if not ours():
            await producer.abort_transaction()
            raise NotOurs(producer._txn_manager.transactional_id)
        await producer.commit_transaction()
        return appends

    async def _start(self, unit: str) -> AIOKafkaProducer:
        name = f"{self.group}-{unit}"
        producer = AIOKafkaProducer(transactional_id=name, **_options(self.client))
        try:
            await _started(producer)
            # aiokafka asks for the id in the background; a broker that has none never answers
            await asyncio.wait_for(producer._txn_manager.wait_for_pid(), START_TIMEOUT)
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            if is_away(error):
                raise
            raise DeliveryError(
                f"the broker gives out no transactional id {name}"
                f" ({type(error).__name__}): does it have transactions, and may"
                " this worker use them? If not, set delivery to at_least_once"
            ) from error
        return producer

    async def _drop(self, units: Sequence[str]) -> None:
        dropped = [self._producers.pop(unit) for unit in units]
        await asyncio.gather(*(producer.stop() for producer in dropped), return_exceptions=True)


def _options(client: Mapping[str, Any]) -> dict[str, Any]:
    # nothing lingers: batches are made here, so there is nothing that a producer could wait for
    return {"acks": "all", "linger_ms": 0, "max_batch_size": MAX_BATCH_BYTES, **client}


async def _started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    # aiokafka gives a batch up when the broker is away for longer than a request may take; we wait
    # for it
    producer._message_accumulator._batch_ttl = _NEVER
    await producer.start()
    return producer


_NONE_KNOWN: Limits = {}


async def append_rows(producer: Any, rows: Rows, limits: Limits = _NONE_KNOWN) -> Appends:
    """Append rows with an aiokafka producer, in as few Kafka batches as they fit in.

    Acknowledgements are awaited.
    """
    # all is handed over before an acknowledgement is awaited, so that batches travel together
    sent = {
        tp: await _send_rows(producer, tp, wanted, limits.get(tp[0], DEFAULT_LIMIT))
        for tp, wanted in rows.items()
    }
    return {tp: await _acknowledged(batches) for tp, batches in sent.items()}


class _Sent(NamedTuple):
    """A Kafka batch on its way: a future of its metadata and the number of its records."""

    future: "asyncio.Future[Any]"
    records: int


async def _send_rows(
    producer: Any, tp: TopicPartition, rows: Iterable[Row], limit: int
) -> list[_Sent]:
    """Hand rows to an aiokafka producer as few batches as they fit in, in order.

    A row larger than the producer's batch size goes out alone.
    """
    sent: list[_Sent] = []
    batch = producer.create_batch()
    for row in rows:
        if not (_has_room(batch, row, limit) and _add(batch, row)):
            sent.append(await _send(producer, tp, batch))
            batch = producer.create_batch()
            _add(batch, row)  # the first row of a batch is always taken
    if batch.record_count():
        sent.append(await _send(producer, tp, batch))
    return sent


def _has_room(batch: Any, row: Row, limit: int) -> bool:
    """Whether a topic takes the batch with the row, too.

    Batches up to our own limit need no counting.
    """
    return (
        limit >= MAX_BATCH_BYTES
        or not batch.record_count()
        or batch.size() + row_bytes(row) <= limit
    )


def _add(batch: Any, row: Row) -> bool:
    return (
        batch.append(key=row.key, value=row.value, timestamp=None, headers=list(row.headers))
        is not None
    )


async def _send(producer: Any, tp: TopicPartition, batch: Any) -> _Sent:
    count = batch.record_count()
    return _Sent(await producer.send_batch(batch, tp[0], partition=tp[1]), count)


async def _acknowledged(sent: Iterable[_Sent]) -> list[Append]:
    return [Append((await batch.future).offset, batch.records) for batch in sent]
