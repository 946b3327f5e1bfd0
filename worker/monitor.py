"""What changes by itself: heartbeat, lag, sizes, recovery; looked at every second and written to health and metrics."""

import asyncio
import shutil
from time import monotonic
from typing import Any

from worker.components import Components
from worker.health import Recovery
from worker.metrics import forget_partitions

EVERY = 1.0
SIZES_EVERY = 10


async def watch(c: Components) -> None:
    """Watch for ever."""
    turn = 0
    while True:
        c.health.heartbeat = monotonic()
        c.health.rebalancing = bool(c.app.rebalancing)
        _recovery(c)
        _queue(c)
        if turn % SIZES_EVERY == 0:
            c.health.disk_free = _disk_free(c)
            _sizes(c)
        turn += 1
        await asyncio.sleep(EVERY)


def listen_to_rebalances(c: Components) -> None:
    """Count rebalances, time recoveries, and rebuild what is derived from the states of the partitions owned."""
    started = [monotonic()]

    @c.app.on_partitions_revoked.connect(weak=False)
    async def revoked(*_: Any, **__: Any) -> None:
        started[0] = monotonic()
        c.metrics.rebalances.inc()
        forget_partitions(c.metrics)

    @c.app.on_partitions_assigned.connect(weak=False)
    async def assigned(*_: Any, **__: Any) -> None:
        started[0] = monotonic()

    @c.app.on_rebalance_complete.connect(weak=False)
    async def recovered(*_: Any, **__: Any) -> None:
        c.metrics.recovery_duration_seconds.observe(monotonic() - started[0])
        partitions = sorted(
            {tp.partition for tp in c.app.assignor.assigned_actives() if tp.topic == c.settings.changelog}
        )
        await c.model.run(c.recommender.rebuild_popularity, lambda: c.states(partitions))
        c.health.assigned = True


def _recovery(c: Components) -> None:
    recovery, name = c.app.tables.recovery, c.table.name
    progress, now = recovery.progress, monotonic()
    c.metrics.recovery_remaining_events.labels(name).set(progress.remaining)
    whole = progress.read + progress.remaining
    c.metrics.recovery_progress_ratio.labels(name).set(progress.read / whole if progress.remaining else 1.0)
    in_recovery = recovery.in_recovery
    c.health.recovery = (
        Recovery(progress.remaining, progress.fell_at, min(progress.answered_at, now)) if in_recovery else None
    )


def _queue(c: Components) -> None:
    consumer = c.app._consumer
    if consumer is None:
        return
    waiting = 0
    for (topic, partition), done in consumer.ledger.positions().items():
        end = consumer.highwater(c.tp(topic, partition))
        if end is not None:
            c.metrics.consumer_lag.labels(topic, partition).set(max(end - done, 0))
    for channel in c.app.topics:
        if channel is not c.source:
            continue
        waiting += channel.queue.qsize()
    c.metrics.queue_depth.set(waiting)


def _sizes(c: Components) -> None:
    open_partitions = list(c.table.data._dbs)
    c.metrics.state_keys.labels(c.table.name).set(sum(map(c.table.estimated_keys, open_partitions)))
    c.metrics.state_size_bytes.labels(c.table.name).set(sum(map(c.table.bytes_on_disk, open_partitions)))


def _disk_free(c: Components) -> int:
    directory = c.settings.state.directory
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    c.metrics.disk_free_bytes.set(free)
    return free
