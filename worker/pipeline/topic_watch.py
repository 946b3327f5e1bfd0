"""Watches the topics while the worker runs.

Topics may go missing, come back, be replaced, or get more partitions.

The next assignment decides what follows (`worker.runtime.assignor`, `anchoring`, `recovery`). Here
changes are noticed and logged; where Kafka does not assign anew by itself, that is requested.
"""

import asyncio
from collections.abc import Iterator, Mapping

import structlog

from worker.kafka import topics
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.pipeline.gate import Gate
from worker.pipeline.seen_topics import SeenTopics
from worker.runtime import metadata
from worker.runtime.app import RuntimeApp
from worker.runtime.metadata import Topic
from worker.settings import Settings

EVERY = 3.0
"""Seconds between two looks; a fetch that finds a topic away brings the next one at once."""
AFTER_DOUBT = 0.5

log = structlog.get_logger(__name__)


class TopicWatch:
    """Compares the topics on the broker with what the worker needs."""

    def __init__(
        self,
        settings: Settings,
        app: RuntimeApp,
        seen: SeenTopics,
        gate: Gate,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """`seen` gets what is found."""
        self._app, self._seen, self._gate = app, seen, gate
        self._health, self._metrics = health, metrics
        self._changelog, self._rekeyed = settings.changelog, settings.rekeyed_topic
        self._lists = settings.topics.name("recommendations")
        self._dead_letters = settings.topics.name("dead_letters")
        self.names = [spec.name for spec in topics.plan(settings)]
        """All topics that a worker needs."""
        self.cut_alike = [*sorted(app.keyed), self._lists, self._changelog]
        """Topics that must have as many partitions as the table."""

    async def watch(self) -> None:
        """Watch for ever."""
        async with metadata.connected(self._app.kafka_client_settings) as client:
            while True:
                await self.see(await metadata.describe(client, self.names))
                await self._next_turn()

    async def wait_for_all(self) -> None:
        """Come back when all topics are there: before, nothing can be read or kept."""
        async with metadata.connected(self._app.kafka_client_settings) as client:
            while True:
                found = await metadata.describe(client, self.names)
                if set(self.names) <= found.keys():
                    self._health.topics = None
                    self._seen.note(found)
                    return
                self.look(found)
                await asyncio.sleep(EVERY)

    async def see(self, found: Mapping[str, Topic]) -> None:
        """Look, once the producers know what there is to write to now.

        By themselves they ask every few minutes.
        """
        if any(found.get(name) != self._seen.get(name) for name in self._written()):
            await self._app.delivery.ask_for_partitions()
        self.look(found)

    def look(self, found: Mapping[str, Topic]) -> None:
        """Log what is wrong, and have the group assign anew where a topic was replaced."""
        missing = [name for name in self.names if name not in found]
        differ = self._differing(found)
        short = [
            name for name, least in self._written().items() if _partitions(found, name) < least
        ]
        self._measure(missing, differ)
        if self._app.consumer_or_none is not None:
            # at once: their shoppers may have moved, and the group takes seconds to assign anew
            self._app.consumer.leave_alone(frozenset(differ))
        wrong = "; ".join(self._wrong(missing, differ, short)) or None
        if wrong != self._health.topics:
            log.error(wrong) if wrong else log.info("the topics are as they should be again")
        self._health.topics = wrong
        self._seen.note(found)
        self._gate.can_write(not short)
        if why := self._changed(found):
            self._app.consumer.rejoin(why)

    def _differing(self, found: Mapping[str, Topic]) -> dict[str, int]:
        """Partitions of the topics that have not as many as the table."""
        counts = {name: found[name].partitions for name in self.cut_alike if name in found}
        return {name: count for name, count in counts.items() if count != self._app.partitions}

    def _measure(self, missing: list[str], differ: Mapping[str, int]) -> None:
        for name in self.names:
            self._metrics.topic_missing.labels(name).set(name in missing)
        for name in self.cut_alike:
            self._metrics.topic_partitions_differ.labels(name).set(name in differ)

    def _written(self) -> dict[str, int]:
        """Topics that a micro-batch writes to, and the partitions that each needs."""
        as_many = [self._lists, self._rekeyed, self._changelog]
        return dict.fromkeys(as_many, self._app.partitions) | {self._dead_letters: 1}

    def _wrong(
        self, missing: list[str], differ: Mapping[str, int], short: list[str]
    ) -> Iterator[str]:
        if missing:
            yield f"these topics do not exist: {', '.join(missing)}; run `pprm topics create`"
        if differ:
            listed = ", ".join(f"{name} has {count}" for name, count in differ.items())
            unread = ", ".join(name for name in differ if name in self._app.keyed)
            waits = f"; {unread}: not read, its events wait in Kafka" if unread else ""
            yield (
                f"the states have {self._app.partitions} partitions, but {listed}{waits}; see"
                " PprmPartitionsDiffer in docs/operations.md"
            )
        if short:
            yield (
                f"the worker cannot write to {', '.join(short)}: all events wait in Kafka until it"
                " can"
            )

    def _changed(self, found: Mapping[str, Topic]) -> str | None:
        """Why the group should assign anew, None where it need not, or does."""
        app = self._app
        if app.consumer_or_none is None or app.rebalancing or app.tables.recovery.in_recovery:
            return None
        used = {topic: note.topic for (topic, _), note in app.consumer.notes.items()}
        used[self._changelog] = app.tables.recovery.changelog
        if replaced := sorted(
            topic
            for topic, log in used.items()
            if log and topic in found and found[topic].log != log
        ):
            return f"deleted and created again: {', '.join(replaced)}"
        if back := sorted(app.consumer.doubts & found.keys()):
            return f"to be read again: {', '.join(back)}"
        return None

    async def _next_turn(self) -> None:
        if self._app.consumer_or_none is None:
            return await asyncio.sleep(EVERY)
        doubted = self._app.consumer.doubted
        try:
            await asyncio.wait_for(doubted.wait(), EVERY)
        except TimeoutError:
            return None
        doubted.clear()
        await asyncio.sleep(AFTER_DOUBT)


def _partitions(found: Mapping[str, Topic], name: str) -> int:
    return found[name].partitions if name in found else 0
