"""Asks the broker where the topics end.

This shows how far we are behind, and whether a former owner still writes.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition

from worker.kafka import reader
from worker.ops.health import ConsumerProgress, Health
from worker.pipeline.ownership import Ownership
from worker.pipeline.past import Past
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.states import States
from worker.runtime.app import RuntimeApp
from worker.runtime.ledger import TopicPartition

EVERY = 3.0
"""Seconds between two questions."""

log = structlog.get_logger(__name__)


class TopicEnds:
    """Compares the ends of the topics with what is processed, and with what was written."""

    def __init__(
        self,
        app: RuntimeApp,
        changelog: str,
        ownership: Ownership,
        states: States,
        seen: SeenTopics,
        past: Past,
        health: Health,
    ) -> None:
        """`seen` says which topics can be asked for."""
        self._app, self._changelog = app, changelog
        self._ownership, self._states, self._seen = ownership, states, seen
        self._past, self._health = past, health

    async def watch(self) -> None:
        """Ask for ever.

        A consumer of its own asks: Faust's knows only what came with the last fetch, and a fetch
        that hangs brings nothing.
        """
        consumer = reader.consumer(self._app.kafka_client_settings)
        await consumer.start()
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self._ask(consumer)
        finally:
            await consumer.stop()

    async def _ask(self, consumer: AIOKafkaConsumer) -> None:
        if self._app.consumer_or_none is None or self._app.rebalancing:
            return
        self._app.consumer.seek_what_never_arrived()
        before = self._ownership.positions()
        changelogs = [(self._changelog, partition) for partition in self._ownership.owned]
        # of a topic that is not there the client would ask until it gives up
        tps = [ClientPartition(*tp) for tp in (*before, *changelogs) if tp[0] in self._seen]
        ends = (
            {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(tps)).items()}
            if tps
            else {}
        )
        self._note_progress(ends, monotonic())
        await self._states.look_for_foreign_writes(
            {tp: ends[tp] for tp in changelogs if tp in ends}
        )

    def _note_progress(self, ends: Mapping[TopicPartition, int], now: float) -> None:
        # By where the next fetch goes on, not by what is done: behind the last record there may be
        # transaction markers.
        consumer, last = self._app.consumer, self._health.progress
        positions = self._ownership.positions()
        goes_on = {tp: consumer.position_of(tp) for tp in positions}
        behind = sum(
            max(ends[tp] - at, 0) for tp, at in goes_on.items() if tp in ends and at is not None
        )
        behind += self._app.waiting_records
        done = sum(positions.values())
        moved = last is None or not behind or done != last.done
        moved_at = now if moved or last is None else last.moved_at
        self._health.progress = ConsumerProgress(behind, done, moved_at, now)
        if not behind and (folded := self._past.end(now)):
            self._log_past(folded)

    def _log_past(self, folded: dict[str, float]) -> None:
        score_from = self._past.score_from
        since = score_from.isoformat() if score_from else "now"
        following = f"events from {since} on are answered with lists"
        log.info("the past is folded", **folded, next=following)
