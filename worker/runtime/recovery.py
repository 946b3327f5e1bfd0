"""Recovery of a table from its changelog: a plain reader of our own, then seek, then resume.

Faust's own resumes the source partitions before it seeks, so that events fetched in between are
lost; it also waits for the last offset to be delivered, which never happens behind a transaction
marker, and trusts end offsets that some brokers get wrong. This one ends by position: nothing more
comes, and the position has reached the end. The broker may be away at any time: it is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from mode import Service

from worker.kafka.batches import Fetch, Record
from worker.kafka.reader import client_of
from worker.ops.fatal import exit_now
from worker.runtime import metadata
from worker.runtime.absence import RETRY_SECONDS, is_away
from worker.runtime.anchoring import committed
from worker.runtime.changelog import READ_RECORDS, Merge, Replay, reader
from worker.runtime.lost_states import Files, StatesLost, Whereabouts, judge
from worker.runtime.table import BatchTable

AT_ONCE = 8
"""Partitions read at a time: bounds memory and connections."""
WRITTEN_AT_ONCE = 500
"""States: some 20 MB at most."""
IDLE_MS = 300
"""An empty fetch this long, at the end offset, ends a partition's recovery."""


@dataclass(slots=True)
class RecoveryProgress:
    """How far the recovery is, for metrics and health. Times are monotonic seconds."""

    left: dict[TopicPartition, int] = field(default_factory=dict)
    """Records still to be read, per changelog partition."""
    read: int = 0
    fell_at: float = 0.0
    """When records were last read, or the recovery began."""
    answered_at: float = 0.0
    """The broker's last answer."""

    @property
    def remaining(self) -> int:
        """Records still to be read."""
        return sum(self.left.values())


class ChangelogRecovery(Recovery):  # type: ignore[misc]
    """Restores the assigned partitions after each rebalance.

    Then, in this order, it seeks, clears queues, and resumes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.progress = RecoveryProgress()
        self.changelog = metadata.NONE
        """Number of the changelog that the states were read from."""
        self._commits: dict[int, dict[str, OffsetAndMetadata]] = {}
        """By partition and input topic."""
        super().__init__(*args, **kwargs)

    @Service.task  # type: ignore[untyped-decorator]
    async def _restart_recovery(self) -> None:
        while not await self.wait_for_stopped(self.signal_recovery_start):
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id)
            except (RebalanceAgain, IllegalStateError):
                continue  # the rebalance that broke in begins another recovery
            except ServiceStopped:
                break
            except StatesLost as error:
                exit_now("the states cannot be read back", error)

    @Service.task  # type: ignore[untyped-decorator]
    async def _slurp_changelogs(self) -> None:
        """Does nothing, in place of Faust's own reader."""

    async def _recover(self, generation_id: int) -> None:
        self._set_recovery_started()
        self.progress.left, self.progress.read, self.progress.fell_at = {}, 0, monotonic()
        await self._wait(
            self._retry_while_away(
                lambda: self.app.listener.on_owned(self.app.consumer.assignment())
            )
        )
        await self._wait(self._retry_while_away(self._look))
        turns = asyncio.Semaphore(AT_ONCE)
        restores = [
            self._restore(self.tp_to_table[tp], TopicPartition(*tp), turns)
            for tp in sorted(self.active_tps)
        ]
        await self._wait(asyncio.gather(*restores))
        await self.on_recovery_completed(generation_id)

    async def _look(self) -> None:
        """Ask which changelog there is, and what the group has processed on the states in it."""
        consumer, app = self.app.consumer._thread._ensure_consumer(), self.app
        topics = await metadata.describe(client_of(consumer), [app.changelog, *app.keyed])
        partitions = sorted(tp.partition for tp in self.active_tps)
        tps = [TopicPartition(topic, p) for topic in app.keyed & topics.keys() for p in partitions]
        commits = await committed(consumer, tps)
        self.changelog = topics[app.changelog].log if app.changelog in topics else metadata.NONE
        self._commits = {
            p: {tp.topic: commit for tp, commit in commits.items() if tp[1] == p}
            for p in partitions
        }

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Seek to where the ledger starts, drop what was fetched before, then let records flow."""
        app, consumer = self.app, self.app.consumer
        await app.on_rebalance_complete.send()
        assignment = consumer.assignment()
        if app.consumer_generation_id != generation_id:
            return
        if assignment:
            await self._wait(self._retry_while_away(consumer.anchor))
        self._set_recovery_ended()
        self.completed.set()
        app.flow_control.resume()  # clears the stream queues: the sources are still paused here
        consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()

    async def _retry_while_away(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask the broker again until it answers; a next rebalance ends the waiting."""
        while True:
            try:
                return await ask()
            except IllegalStateError:
                raise
            except (KafkaError, TimeoutError) as error:
                if not is_away(error):
                    raise
                self.log.warning("waiting for the broker: %r", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _restore(
        self, table: BatchTable, tp: TopicPartition, turns: asyncio.Semaphore
    ) -> None:
        async with turns:
            await self._retry_while_away(lambda: self._restore_once(table, tp))

    async def _restore_once(self, table: BatchTable, tp: TopicPartition) -> None:
        """Bring a partition's files up to date, or the changelog, whichever lacks states."""
        partition = tp.partition
        files = Files(table.changelog_of(partition), table.covered(partition))
        # where a number is unknown only the offsets can show that the files are of another log
        is_theirs = not (files.changelog and self.changelog) or files.changelog == self.changelog
        end = await self._read_on(table, tp) if is_theirs else None
        is_theirs = end is not None
        if end is None:
            end = await self._end_of(tp)
        verdict = judge(files, self.changelog, end, self._commits[partition], is_theirs=is_theirs)
        if verdict is Whereabouts.LOST and self.app.accepts_lost_states:
            self.log.error(
                "%s lacks states that nobody has: going on with what there is, as is set", tp
            )
            verdict = Whereabouts.IN_THE_FILES
        if verdict is Whereabouts.LOST:
            raise StatesLost(tp, table.data.partition_path(partition))
        if verdict is Whereabouts.IN_THE_FILES:
            await self._write_back(table, tp)
        elif not is_theirs:
            self.log.warning(
                "%s is not the one of the files here: reading the whole changelog again", tp
            )
            table.data.wipe(partition)
            table.logs[partition] = self.changelog
            await self._read_changelog(table, tp, Replay(table, partition))

    async def _read_on(self, table: BatchTable, tp: TopicPartition) -> int | None:
        """Read the changelog from where the files end.

        Returns its end, None where it ends before them.
        """
        table.logs[tp.partition] = self.changelog
        try:
            return await self._read_changelog(
                table, tp, Replay(table, tp.partition), table.persisted_offset(tp)
            )
        except OffsetOutOfRangeError:
            return None

    async def _write_back(self, table: BatchTable, tp: TopicPartition) -> None:
        """Append the states that the files hold to a changelog that lacks them."""
        self.log.error(
            "%s was made anew, or lost its end: writing the states of the files here back to it", tp
        )
        # if it ends half way, the files are not of this changelog yet
        table.logs[tp.partition] = metadata.NONE
        # what the changelog does hold may be newer than the files: it is taken in first
        await self._read_changelog(table, tp, Merge(table, tp.partition))
        keys = [key for key, _ in table.scan(tp.partition)]
        for first in range(0, len(keys), WRITTEN_AT_ONCE):
            await self.app.listener.on_overwritten(
                tp.partition, keys[first : first + WRITTEN_AT_ONCE]
            )
        table.logs[tp.partition] = self.changelog
        table.write(
            tp.partition, {}, table.next_append[tp.partition] - 1, self.app.consumer_generation_id
        )

    async def _end_of(self, tp: TopicPartition) -> int:
        async with reader(self.app.kafka_client_settings, tp) as consumer:
            return int((await consumer.end_offsets([tp]))[tp])

    async def _read_changelog(
        self, table: BatchTable, tp: TopicPartition, replay: Replay, persisted: int | None = None
    ) -> int:
        """Apply what is behind the persisted offset, or all where there is none.

        Returns where the changelog ends.
        """
        async with reader(self.app.kafka_client_settings, tp) as consumer:
            start = (await consumer.beginning_offsets([tp]))[tp]
            # the log's beginning may have moved beyond what was persisted
            consumer.seek(tp, start if persisted is None else max(start, persisted + 1))
            with table.loading(tp.partition):
                await self._read_to_end(consumer, tp, replay.apply)
            end = table.next_append[tp.partition] = int(await consumer.position(tp))
        if replay.overwritten:
            self.log.warning(
                "%s: %d states were overwritten by a former owner: restored",
                tp,
                len(replay.overwritten),
            )
            await self.app.listener.on_overwritten(tp.partition, replay.overwritten)
        return end

    async def _read_to_end(
        self,
        consumer: AIOKafkaConsumer,
        tp: TopicPartition,
        apply: Callable[[Iterable[Record]], None],
    ) -> None:
        while True:
            fetched: Fetch = await consumer.getmany(
                tp, timeout_ms=IDLE_MS, max_records=READ_RECORDS
            )
            records = fetched.get(tp, [])
            position = await consumer.position(tp)
            # told with the fetch, it is good enough to show; where nothing comes, only the broker's
            # answer ends it
            end = (
                (consumer.highwater(tp) or position)
                if records
                else (await consumer.end_offsets([tp]))[tp]
            )
            self.progress.left[tp], self.progress.answered_at = max(end - position, 0), monotonic()
            if records:
                self.progress.read += len(records)
                self.progress.fell_at = monotonic()
                apply(records)
            elif position >= end:
                return


def install(use: Callable[..., Recovery] = ChangelogRecovery) -> None:
    """Make Faust's table manager use this recovery; it has no setting for it."""
    import faust.tables.manager as manager

    manager.Recovery = use
