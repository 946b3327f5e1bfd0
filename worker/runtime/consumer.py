"""Faust's Kafka consumer with positions and commits from the offset ledger."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.utils.futures import maybe_async

from worker.kafka import reader
from worker.runtime import anchoring, fetch_sessions
from worker.runtime.anchoring import Anchored
from worker.runtime.commits import Finding, Note, differ
from worker.runtime.ledger import Ledger, TopicPartition, tuple_of
from worker.runtime.metadata import NONE
from worker.runtime.records import Fetched

FETCH_MAX_WAIT_MS = 20
"""How long a broker may wait for more data; Faust's 1500 becomes latency at some brokers."""

MAX_WAITING_RANGES = 256
"""Ranges (at most 1,000 records each) that may wait for the agent: this bounds memory."""
MAX_WAITING_BYTES = 64 << 20
"""Bytes of records that may wait for the agent."""
FULL_SECONDS = 0.002
"""Pause before it is looked again whether there is room."""


class _OnTheLoop(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer without its thread.

    What it calls the thread's loop is the one that everything runs on.

    A thread takes the interpreter from the agent and gives it back dozens of times a micro-batch.
    What it is for, heartbeats while an agent is busy, does not need it here: micro-batches are
    short, the model has its own thread.
    """

    wait_for_shutdown = False  # there is no thread that would have to end

    def __init__(self, consumer: "LedgerConsumer") -> None:
        super().__init__(
            consumer, loop=consumer.loop, thread_loop=consumer.loop, beacon=consumer.beacon
        )

    # Faust's thread overrides these to reach into its loop. Here they are an ordinary service's.
    maybe_start, start, stop, crash = (
        Service.maybe_start,
        Service.start,
        Service.stop,
        Service.crash,
    )
    _stop_children, _stop_futures, _stop_exit_stacks = (
        Service._stop_children, Service._stop_futures, Service._stop_exit_stacks
    )  # fmt: skip

    async def on_stop(self) -> None:
        """Leave the group and disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def call_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function here and now: there is no thread."""
        return await maybe_async(function(*args, **kwargs))

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._isolation_level = reader.READ_COMMITTED
        fetch_sessions.install(consumer, self.consumer.doubt)
        return consumer

    def seek(self, partition: Any, offset: int) -> None:
        """Seek, unless the partition was given away meanwhile: then its next owner seeks."""
        with suppress(IllegalStateError):
            self._ensure_consumer().seek(partition, offset)

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Commit; False where it failed, which is no reason to end.

        What is not committed is read again.
        """
        positions = {ClientPartition(*tp): commit for tp, commit in offsets.items()}
        try:
            await self._ensure_consumer().commit(positions)
        except (CommitFailedError, IllegalStateError):
            self.log.warning("offsets were not committed: the group rebalances")
            return False
        except KafkaError as error:
            self.log.warning("offsets were not committed, trying again later: %r", error)
            return False
        return True


class LedgerConsumer(driver.Consumer):  # type: ignore[misc]
    """Commits what the ledger says is finished, and nothing else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self.idle = asyncio.Event()
        """Set while no micro-batch is being worked on."""
        self.idle.set()
        self.holds_back = False
        """Whether the agent holds fetched records that it may not make a micro-batch of yet."""
        self._in_hand = 0
        self.commits_itself = True
        """False where the delivery commits the offsets."""
        self.notes: dict[TopicPartition, Note] = {}
        """Which logs the offsets of the assigned partitions are of."""
        self.left_alone: frozenset[str] = frozenset()
        """Topics of which nothing is taken, see `leave_alone`."""
        self.doubts: set[str] = set()
        """Topics that may be others than before; nothing of them is taken until `anchor`."""
        self.doubted = asyncio.Event()
        super().__init__(*args, **kwargs)
        self._ahead: dict[TopicPartition, int] = {}

    def _new_consumer_thread(self) -> _OnTheLoop:
        return _OnTheLoop(self)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand over what is fetched until the fetcher is stopped.

        While too much waits, aiokafka's buffers fill up.

        Faust's own drops whatever is below the newest that it has handed over, and so what is
        sought back; it makes two tasks for each message; and when too much waits of every
        partition, it sleeps for a second.
        """
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                is_full = self._is_full()
                # a fetch that finds records does not wait
                await asyncio.sleep(FULL_SECONDS if is_full else 0)
                if is_full:
                    continue
                async for _, message in self.getmany(timeout=1.0):
                    await self._hand_over(message)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    def _is_full(self) -> bool:
        waiting = [event.value for channel in self.app.topics for event in channel.queue._queue]
        size = sum(value.size for value in waiting if isinstance(value, Fetched))
        return len(waiting) >= MAX_WAITING_RANGES or size >= MAX_WAITING_BYTES

    async def _hand_over(self, message: Any) -> None:
        if self.app.flow_control.is_active():
            await self.callback(message)  # waits for nothing: a queue is never full
        else:
            await self.wait_first(self.callback(message), self.suspend_flow.wait())

    async def anchor(self) -> None:
        """Seek every assigned partition to where it goes on, and reset the ledger to it.

        This comes after the delivery owns them: no commit of a last owner comes later.

        Raises:
            IllegalStateError: they were given away while the broker was asked; the next assignment
            anchors anew.
        """
        epoch = self.ledger.epoch
        sources = [
            ClientPartition(*tp)
            for tp in self.assignment()
            if tp.topic not in self.app.tables.changelog_topics
        ]
        found = await anchoring.look(
            self._thread._ensure_consumer(), self.app.kafka_client_settings, sources
        )
        self._require(epoch)  # here and below: partitions may be revoked during any await
        self.notes = {tuple_of(tp): each.note for tp, each in found.items()}
        await self._keep_notes(found)
        positions = {tp: each.anchor.offset for tp, each in found.items()}
        # the states were just read back, so they hold all that lies below
        self.app.on_anchored(positions)
        await self._thread.seek_wait(positions)
        self._require(epoch)
        self.doubts.clear()
        self.ledger.assign(positions)
        self.leave_alone(self.left_alone)
        for tp, each in found.items():
            self._tell(tp, each)

    def _require(self, epoch: int) -> None:
        """Raise if partitions were revoked: the ledger of other ones must not be replaced."""
        if self.ledger.epoch != epoch:
            raise IllegalStateError("the partitions were given away meanwhile")

    async def _keep_notes(self, found: Mapping[ClientPartition, Anchored]) -> None:
        """Commit again where a commit's note is not true any more.

        It must be done before records flow: once the log has grown past the old commit, nobody
        could see that it is of another log.

        Raises:
            KafkaTimeoutError: it did not work.
        """
        due = {
            tp: commit
            for tp, each in found.items()
            if each.commit and differ(commit := self.commit_of(tp, each.anchor.offset), each.commit)
        }
        if due and not await self._thread._commit(due):
            raise KafkaTimeoutError

    def commit_of(self, tp: TopicPartition, offset: int) -> OffsetAndMetadata:
        """An offset of an assigned partition as it is committed."""
        note = self.notes.get(tuple_of(tp), Note())
        if tp[0] not in self.app.keyed:
            return note.commit(offset)
        table, partition = self.app.state_table, tp[1]
        changelog, end = table.logs.get(partition, NONE), table.next_append.get(partition, 0)
        return Note(note.topic, note.log, changelog, end).commit(offset)

    def _tell(self, tp: ClientPartition, found: Anchored) -> None:
        if found.commit is None or found.anchor.finding is Finding.GOES_ON:
            return
        committed, begins = found.commit.offset, found.anchor.offset
        self.log.error(
            "%s: %s (%d was committed, now %d)", tp, found.anchor.finding.value, committed, begins
        )
        if found.anchor.finding is Finding.DELETED:
            self.app.listener.on_deleted(tp.topic, begins - committed)
        else:
            self.app.listener.on_other_log(tp.topic)

    def doubt(self, topic: str) -> None:
        """Doubt a topic that is not there, or does not hold the offset asked for.

        Nothing of it is taken until it was looked at.
        """
        if topic not in self.doubts:
            self.log.warning(
                "%s is not what it was: nothing of it is taken until the next assignment", topic
            )
        self.doubts.add(topic)
        self.ledger.disown(topic)
        self.doubted.set()

    def leave_alone(self, topics: frozenset[str]) -> None:
        """Take nothing of these topics, even if they are assigned, until others are named.

        The group's leader may not know yet that a topic has grown, and assigns it as before. A
        topic that is no longer named, and is assigned, was assigned by what the leader knew then.
        So it is doubted until the group has assigned anew.
        """
        self.doubts |= (self.left_alone - topics) & {topic for topic, _ in self.notes}
        self.left_alone = topics
        for topic in topics:
            self.ledger.disown(topic)

    def rejoin(self, why: str) -> None:
        """Have the group assign anew, so that states, offsets and topics are looked at again."""
        self.log.warning("joining the group again: %s", why)
        self._thread._ensure_consumer()._coordinator.request_rejoin()

    def take_in_hand(self) -> None:
        """Count one more micro-batch that is being worked on."""
        self._in_hand += 1
        self.idle.clear()

    def let_go(self) -> None:
        """Count one micro-batch less that is being worked on."""
        self._in_hand -= 1
        if not self._in_hand:
            self.idle.set()

    def seek_what_never_arrived(self) -> None:
        """Fetch again what was fetched but never reached the agent; call it every few seconds.

        In the middle of a topic such a gap shows when the next record comes. At its end none may
        come for long. There it shows by this: nothing waits, nothing is being worked on, and the
        consumer has fetched beyond the offset that the ledger expects. It must be so in two calls
        that follow each other, since what was just fetched may still be on its way.
        """
        at_rest = (
            self.idle.is_set()
            and not self.holds_back
            and not any(map(self.waiting_records, self.app.topics))
        )
        expected = self.ledger.fetch_from() if at_rest else {}
        ahead = {tp: at for tp, at in expected.items() if self._fetched_beyond(tp, at)}
        for tp, at in ahead.items():
            if self._ahead.get(tp) == at:
                self.log.warning(
                    "%s: what was fetched from %d on never arrived: fetching it again", tp, at
                )
                self.app.listener.on_gap(tp[0])
                self.seek_back(tp, at)
        self._ahead = ahead

    def _fetched_beyond(self, tp: TopicPartition, expected: int) -> bool:
        state = self._state_of(tp)
        known = state is not None and state.has_valid_position
        return bool(
            known and state.position > expected and not reader.only_markers(state, expected)
        )

    async def beginning_of(self, tp: TopicPartition) -> int | None:
        """Where the broker's log of a partition begins, None where it does not say."""
        try:
            return dict(await self.earliest_offsets(driver.ensure_aiokafka_TP(TP(*tp)))).get(tp)
        except (KafkaError, TimeoutError) as error:
            self.log.warning("%s: the broker does not say where its log begins: %r", tp, error)
            return None

    async def perform_seek(self) -> None:
        """Faust calls this when it threw away what it fetched while suspended: fetch it again."""
        for tp, offset in self.ledger.fetch_from().items():
            self.seek_back(tp, offset)

    def seek_back(self, tp: TopicPartition, offset: int) -> None:
        """Fetch an assigned partition from this offset."""
        self._thread.seek(driver.ensure_aiokafka_TP(TP(*tp)), offset)

    async def wait_empty(self) -> None:
        """Finish the batches in hand before partitions are given away.

        Then commit, and disown the rest.

        This is bounded, since the broker waits: a batch that takes longer finds another epoch and
        writes nothing.
        """
        try:
            await asyncio.wait_for(self.idle.wait(), self.app.conf.broker_session_timeout / 2)
        except TimeoutError:
            self.log.warning(
                "a micro-batch in hand outlasts the rebalance:"
                " it will be read again by the next owner"
            )
        await self.commit()
        self.ledger.revoke()

    def position_of(self, tp: TopicPartition) -> int | None:
        """Return the offset of a partition's next fetch; None if it is not assigned or sought."""
        state = self._state_of(tp)
        return int(state.position) if state is not None and state.has_valid_position else None

    def _state_of(self, tp: TopicPartition) -> Any:
        subscription = self._thread._ensure_consumer()._subscription.subscription
        return subscription.assignment.state_value(driver.ensure_aiokafka_TP(TP(*tp)))

    def end_of(self, tp: TopicPartition) -> int | None:
        """End offset that came with the last fetch of an assigned partition."""
        if TP(*tp) not in self.assignment():
            return None
        end: int | None = self._thread.highwater(driver.ensure_aiokafka_TP(TP(*tp)))
        return end

    @staticmethod
    def waiting_records(channel: Any) -> int:
        """Records in a channel's queue."""
        return sum(
            len(event.value.records)
            for event in channel.queue._queue
            if isinstance(event.value, Fetched)
        )

    async def _commit_tps(self, tps: Any, start_new_transaction: bool) -> bool:
        assignment = self.assignment()
        offsets = {
            tp: offset for tp, offset in self.ledger.committable().items() if tp in assignment
        }
        if not self.commits_itself:
            # the transactions of the micro-batches have committed them
            self.ledger.committed(offsets)
            return True
        started = monotonic()
        if not offsets or not await self._thread._commit(
            {tp: self.commit_of(tp, at) for tp, at in offsets.items()}
        ):
            return False
        self.app.listener.on_commit(monotonic() - started)
        self.ledger.committed(offsets)
        return True

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Does nothing: Faust's livelock detector reads acks, which are not used here."""


class LedgerTransport(driver.Transport):  # type: ignore[misc]
    """Kafka transport whose consumer keeps the ledger."""

    Consumer = LedgerConsumer
