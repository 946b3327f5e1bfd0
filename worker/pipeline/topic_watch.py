"""Watches the topics while the worker runs.

Topics may go missing, come back, be replaced, or get more partitions.

The next assignment decides what follows (`worker.runtime.assignor`, `anchoring`, `recovery`). Here
changes are noticed and logged; where Kafka does not assign anew by itself, that is requested.
"""

import asyncio
from collections.abc import Iterator, Mapping

import structlog

from worker.kafka import topics
from worker.pipeline.context import Components, answer_or_wait
from worker.runtime import metadata
from worker.runtime.metadata import Topic

EVERY = 3.0
"""Seconds between two looks; a fetch that finds a topic away brings the next one at once."""
AFTER_DOUBT = 0.5

log = structlog.get_logger(__name__)


async def watch(c: Components) -> None:
    """Watch for ever."""
    async with metadata.connected(c.app.kafka_client_settings) as client:
        while True:
            await see(c, await metadata.describe(client, names(c)))
            await _next_turn(c)


async def wait_for_all(c: Components) -> None:
    """Come back when all topics are there: before, nothing can be read or kept."""
    async with metadata.connected(c.app.kafka_client_settings) as client:
        while True:
            found = await metadata.describe(client, names(c))
            if set(names(c)) <= found.keys():
                c.topics, c.health.topics = found, None
                return
            look(c, found)
            await asyncio.sleep(EVERY)


def names(c: Components) -> list[str]:
    """All topics that a worker needs."""
    return [spec.name for spec in topics.plan(c.settings)]


async def see(c: Components, found: Mapping[str, Topic]) -> None:
    """Look, once the producers know what there is to write to now: they ask every few minutes."""
    if any(found.get(name) != c.topics.get(name) for name in written(c)):
        await c.app.delivery.ask_for_partitions()
    look(c, found)


def look(c: Components, found: Mapping[str, Topic]) -> None:
    """Log what is wrong, and have the group assign anew where a topic was replaced."""
    missing = [name for name in names(c) if name not in found]
    differ = {name: found[name].partitions for name in cut_alike(c) if name in found}
    differ = {name: count for name, count in differ.items() if count != c.app.partitions}
    for name in names(c):
        c.metrics.topic_missing.labels(name).set(name in missing)
    for name in cut_alike(c):
        c.metrics.topic_partitions_differ.labels(name).set(name in differ)
    if c.app.consumer_or_none is not None:
        # at once: their shoppers may have moved, and the group takes seconds to assign anew
        c.app.consumer.leave_alone(frozenset(differ))
    short = [name for name, count in written(c).items() if _partitions(found, name) < count]
    said = "; ".join(_wrong(c, missing, differ, short)) or None
    if said != c.health.topics:
        log.error(said) if said else log.info("the topics are as they should be again")
    c.health.topics, c.topics = said, dict(found)
    c.health.nowhere_to_write = bool(short)
    answer_or_wait(c)
    count_partitions(c)
    if why := _changed(c, found):
        c.app.consumer.rejoin(why)


def count_partitions(c: Components) -> None:
    """Note how the topics are cut whose number of partitions is free."""
    if (products := c.topics.get(c.settings.topics.name("products"))) is not None:
        c.product_partitions = products.partitions
    if (letters := c.topics.get(c.settings.topics.name("dead_letters"))) is not None:
        c.dead_letter_partitions = letters.partitions


def cut_alike(c: Components) -> list[str]:
    """Topics that must have as many partitions as the table."""
    return [*sorted(c.app.keyed), c.settings.topics.name("recommendations"), c.settings.changelog]


def written(c: Components) -> dict[str, int]:
    """Topics that a micro-batch writes to, and the partitions that each needs."""
    needed = [
        c.settings.topics.name("recommendations"), c.settings.rekeyed_topic, c.settings.changelog,
    ]  # fmt: skip
    return dict.fromkeys(needed, c.app.partitions) | {c.settings.topics.name("dead_letters"): 1}


def _partitions(found: Mapping[str, Topic], name: str) -> int:
    return found[name].partitions if name in found else 0


def _wrong(
    c: Components, missing: list[str], differ: Mapping[str, int], short: list[str]
) -> Iterator[str]:
    if missing:
        yield f"these topics do not exist: {', '.join(missing)}; run `pprm topics create`"
    if differ:
        listed = ", ".join(f"{name} has {count}" for name, count in differ.items())
        unread = ", ".join(name for name in differ if name in c.app.keyed)
        waits = f"; {unread}: not read, its events wait in Kafka" if unread else ""
        yield (
            f"the states have {c.app.partitions} partitions, but {listed}{waits}; see"
            " PprmPartitionsDiffer in docs/operations.md"
        )
    if short:
        yield (
            f"the worker cannot write to {', '.join(short)}: all events wait in Kafka until it can"
        )


def _changed(c: Components, found: Mapping[str, Topic]) -> str | None:
    """Why the group should assign anew, None where it need not, or does."""
    if c.app.consumer_or_none is None or c.app.rebalancing or c.app.tables.recovery.in_recovery:
        return None
    used = {topic: note.topic for (topic, _), note in c.app.consumer.notes.items()}
    used[c.settings.changelog] = c.app.tables.recovery.changelog
    if replaced := sorted(
        topic for topic, log in used.items() if log and topic in found and found[topic].log != log
    ):
        return f"deleted and created again: {', '.join(replaced)}"
    if back := sorted(c.app.consumer.doubts & found.keys()):
        return f"to be read again: {', '.join(back)}"
    return None


async def _next_turn(c: Components) -> None:
    if c.app.consumer_or_none is None:
        return await asyncio.sleep(EVERY)
    doubted = c.app.consumer.doubted
    try:
        await asyncio.wait_for(doubted.wait(), EVERY)
    except TimeoutError:
        return None
    doubted.clear()
    await asyncio.sleep(AFTER_DOUBT)
