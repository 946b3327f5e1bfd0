"""Faust's Kafka consumer with positions and commits from the offset ledger."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from worker.runtime.ledger import Ledger, TopicPartition
from worker.runtime.records import Fetched

FETCH_MAX_WAIT_MS = 20
"""How long a broker may wait for more data; Faust fixes 1500, which a broker that waits it out turns into latency."""


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer


class LedgerConsumer(driver.Consumer):  # type: ignore[misc]
    """Commits what the ledger says is finished, and nothing else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self.idle = asyncio.Event()
        """Set while no micro-batch is being worked on."""
        self.idle.set()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def anchor(self) -> None:
        """Seek every assigned partition to its committed offset, or to the beginning, and tell the ledger."""
        committed = await self.seek_to_committed()
        tables = self.app.tables.changelog_topics
        sources = {tp: offset for tp, offset in committed.items() if tp.topic not in tables}
        unset = [tp for tp, offset in sources.items() if offset is None or offset < 0]
        beginnings: Mapping[Any, int] = await self.earliest_offsets(*unset) if unset else {}
        positions = {tp: beginnings.get(tp, offset) for tp, offset in sources.items()}
        for tp, offset in positions.items():
            self._thread.seek(tp, offset)
        self.ledger.assign(positions)

    async def perform_seek(self) -> None:
        """Faust calls this when it threw away what it fetched while suspended: fetch it again."""
        for tp, offset in self.ledger.fetch_from().items():
            self._thread.seek(driver.ensure_aiokafka_TP(TP(*tp)), offset)

    async def wait_empty(self) -> None:
        """Before partitions are given away: let the batch in hand finish, commit, and disown the rest.

        Bounded, since the broker waits: a batch that takes longer finds another epoch and writes nothing.
        """
        try:
            await asyncio.wait_for(self.idle.wait(), self.app.conf.broker_session_timeout / 2)
        except TimeoutError:
            self.log.warning("the micro-batch in hand outlasts the rebalance: it will be read again by the next owner")
        await self.commit()
        self.ledger.revoke()

    def end_of(self, tp: TopicPartition) -> int | None:
        """End offset that the broker told with the last fetch of an assigned partition."""
        if TP(*tp) not in self.assignment():
            return None
        end: int | None = self._thread.highwater(driver.ensure_aiokafka_TP(TP(*tp)))
        return end

    @staticmethod
    def waiting_records(channel: Any) -> int:
        """Records in a channel's queue."""
        return sum(len(event.value.records) for event in channel.queue._queue if isinstance(event.value, Fetched))

    async def _commit_tps(self, tps: Any, start_new_transaction: bool) -> bool:
        assignment = self.assignment()
        offsets = {tp: offset for tp, offset in self.ledger.committable().items() if tp in assignment}
        started = monotonic()
        if not offsets or not await self._commit({TP(*tp): at for tp, at in offsets.items()}):
            return False
        self.app.on_commit(monotonic() - started)
        self.ledger.committed(offsets)
        return True

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's livelock detector reads the acks that we do not use."""


class LedgerTransport(driver.Transport):  # type: ignore[misc]
    """Kafka transport whose consumer keeps the ledger."""

    Consumer = LedgerConsumer
