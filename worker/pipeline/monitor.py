"""What changes by itself: heartbeat, lag, sizes, recovery.

It is measured every second and written to health and metrics.
"""

import asyncio
import shutil
from collections.abc import Mapping
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from worker.kafka import reader
from worker.ops import descriptors
from worker.ops.health import Progress, Recovery
from worker.ops.metrics import forget_partitions
from worker.pipeline import popularity, publishing
from worker.pipeline.context import Components

EVERY = 1.0
SETTLED_WITHIN = 0.05
"""Seconds in which the end of a rebalance or a recovery is seen."""
SIZES_EVERY = 10
RECOVERY_LOG_EVERY = 5
ENDS_EVERY = 3.0
"""Seconds between two questions to the broker where its topics end."""

log = structlog.get_logger(__name__)


async def watch(c: Components) -> None:
    """Watch for ever."""
    turn = 0
    while True:
        c.health.heartbeat = monotonic()
        c.health.rebalancing = bool(c.app.rebalancing)
        c.health.descriptors_free = descriptors.free()
        _recovery(c)
        if turn % RECOVERY_LOG_EVERY == 0 and c.health.recovery and c.health.recovery.remaining:
            progress = c.app.tables.recovery.progress
            log.info("recovering the table", read=progress.read, left=progress.remaining)
        _queue(c)
        if turn % SIZES_EVERY == 0:
            c.health.disk_free = _disk_free(c)
            _sizes(c)
        turn += 1
        await _pause(c)


async def _pause(c: Components) -> None:
    """Wait until it is time to look again.

    This ends at once where a rebalance or a recovery ends, so that /ready follows.
    """
    until = monotonic() + EVERY
    while (left := until - monotonic()) > 0:
        await asyncio.sleep(min(left, SETTLED_WITHIN))
        rebalanced = c.health.rebalancing and not c.app.rebalancing
        if rebalanced or (c.health.recovery and not c.app.tables.recovery.in_recovery):
            return


async def ask_for_ends(c: Components) -> None:
    """Ask the broker for ever where the topics end.

    This shows how far we are behind, and whether a former owner still writes.

    A consumer of its own asks: Faust's knows only what came with the last fetch, and a fetch that
    hangs brings nothing.
    """
    consumer = reader.consumer(c.app.kafka_client_settings)
    await consumer.start()
    try:
        while True:
            await asyncio.sleep(ENDS_EVERY)
            await _ask_once(c, consumer)
    finally:
        await consumer.stop()


async def _ask_once(c: Components, consumer: AIOKafkaConsumer) -> None:
    if c.app.consumer_or_none is None or c.app.rebalancing:
        return
    c.app.consumer.seek_what_never_arrived()
    before = c.app.consumer.ledger.positions()
    changelogs = [(c.settings.changelog, partition) for partition in c.owned]
    # of a topic that is not there the client would ask until it gives up
    tps = [TopicPartition(*tp) for tp in (*before, *changelogs) if tp[0] in c.topics]
    ends = (
        {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(tps)).items()}
        if tps
        else {}
    )
    _progress(c, ends, monotonic())
    await publishing.look_for_foreign_writes(c, {tp: ends[tp] for tp in changelogs if tp in ends})


def _progress(c: Components, ends: Mapping[tuple[str, int], int], now: float) -> None:
    # By where the next fetch goes on, not by what is done: behind the last record there may be
    # transaction markers.
    consumer, last = c.app.consumer, c.health.progress
    positions = consumer.ledger.positions()
    goes_on = {tp: consumer.position_of(tp) for tp in positions}
    behind = sum(
        max(ends[tp] - at, 0) for tp, at in goes_on.items() if tp in ends and at is not None
    ) + _waiting(c)
    done = sum(positions.values())
    moved = last is None or not behind or done != last.done
    c.health.progress = Progress(behind, done, now if moved or last is None else last.moved_at, now)
    if not behind and (folded := c.past.end(now)):
        _tell_past(c, folded)


def _tell_past(c: Components, folded: dict[str, float]) -> None:
    score_from = c.settings.recommendations.score_from
    following = (
        f"events from {score_from.isoformat() if score_from else 'now'} on are answered with lists"
    )
    log.info("the past is folded", **folded, next=following)


def listen(c: Components) -> None:
    """Count rebalances, time recoveries, and rebuild what the owned partitions' states yield."""
    started = [monotonic()]

    async def revoked(*_: object, **__: object) -> None:
        started[0] = monotonic()
        c.metrics.rebalances.inc()
        forget_partitions(c.metrics)

    async def assigned(*_: object, **__: object) -> None:
        started[0] = monotonic()

    async def recovered(*_: object, **__: object) -> None:
        c.metrics.recovery_duration_seconds.observe(monotonic() - started[0])
        actives = c.app.assignor.assigned_actives()
        await popularity.take_over(
            c, frozenset(tp.partition for tp in actives if tp.topic == c.settings.changelog)
        )
        c.health.assigned = True
        seconds = round(monotonic() - started[0], 3)
        log.info("partitions assigned", partitions=sorted(c.owned), recovery_seconds=seconds)

    c.app.on_partitions_revoked.connect(revoked, weak=False)
    c.app.on_partitions_assigned.connect(assigned, weak=False)
    c.app.on_rebalance_complete.connect(recovered, weak=False)


def _recovery(c: Components) -> None:
    recovery, name = c.app.tables.recovery, c.table.name
    progress = recovery.progress
    c.metrics.recovery_remaining_events.labels(name).set(progress.remaining)
    whole = progress.read + progress.remaining
    c.metrics.recovery_progress_ratio.labels(name).set(
        progress.read / whole if progress.remaining else 1.0
    )
    c.health.recovery = (
        Recovery(progress.remaining, progress.fell_at, progress.answered_at)
        if recovery.in_recovery
        else None
    )


def _queue(c: Components) -> None:
    consumer = c.app.consumer_or_none
    if consumer is None:
        return
    for tp, done in consumer.ledger.positions().items():
        if (end := consumer.end_of(tp)) is not None:
            c.metrics.consumer_lag.labels(*tp).set(max(end - done, 0))
    c.metrics.queue_depth.set(_waiting(c))


def _waiting(c: Components) -> int:
    return sum(c.app.consumer.waiting_records(channel) for channel in c.app.topics)


def _sizes(c: Components) -> None:
    open_partitions = c.table.partitions_open
    c.metrics.state_keys.labels(c.table.name).set(sum(map(c.table.estimated_keys, open_partitions)))
    c.metrics.gpu_memory_bytes.set(c.loaded.scorer.gpu_bytes() if c.loaded else 0)
    c.metrics.state_size_bytes.labels(c.table.name).set(
        sum(map(c.table.bytes_on_disk, open_partitions))
    )


def _disk_free(c: Components) -> int:
    directory = c.settings.state.directory
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    c.metrics.disk_free_bytes.set(free)
    return free
