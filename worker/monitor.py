"""What changes by itself: heartbeat, lag, sizes, recovery; looked at every second and written to health and metrics."""

import asyncio
import shutil
from time import monotonic
from typing import Any

import structlog

from worker.components import Components
from worker.health import Recovery
from worker.metrics import forget_partitions

EVERY = 1.0
SIZES_EVERY = 10

log = structlog.get_logger(__name__)


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


def listen(c: Components) -> None:
    """Count rebalances, time recoveries, and rebuild what is derived from the states of the partitions owned."""
    started = [monotonic()]

    async def revoked(*_: Any, **__: Any) -> None:
        started[0] = monotonic()
        c.metrics.rebalances.inc()
        forget_partitions(c.metrics)

    async def assigned(*_: Any, **__: Any) -> None:
        started[0] = monotonic()

    async def recovered(*_: Any, **__: Any) -> None:
        c.metrics.recovery_duration_seconds.observe(monotonic() - started[0])
        owned = sorted({tp.partition for tp in c.app.assignor.assigned_actives() if tp.topic == c.settings.changelog})
        await c.model.run(lambda: c.recommender.rebuild_popularity(c.states(owned)))
        c.health.assigned = True
        log.info("partitions assigned", partitions=owned, recovery_seconds=round(monotonic() - started[0], 3))

    c.app.on_partitions_revoked.connect(revoked, weak=False)
    c.app.on_partitions_assigned.connect(assigned, weak=False)
    c.app.on_rebalance_complete.connect(recovered, weak=False)


def _recovery(c: Components) -> None:
    recovery, name = c.app.tables.recovery, c.table.name
    progress = recovery.progress
    c.metrics.recovery_remaining_events.labels(name).set(progress.remaining)
    whole = progress.read + progress.remaining
    c.metrics.recovery_progress_ratio.labels(name).set(progress.read / whole if progress.remaining else 1.0)
    c.health.recovery = (
        Recovery(progress.remaining, progress.fell_at, progress.answered_at) if recovery.in_recovery else None
    )


def _queue(c: Components) -> None:
    consumer = c.app._consumer
    if consumer is None:
        return
    for tp, done in consumer.ledger.positions().items():
        if (end := consumer.end_of(tp)) is not None:
            c.metrics.consumer_lag.labels(*tp).set(max(end - done, 0))
    c.metrics.queue_depth.set(sum(consumer.waiting_records(channel) for channel in c.app.topics))


def _sizes(c: Components) -> None:
    open_partitions = list(c.table.data._dbs)
    c.metrics.state_keys.labels(c.table.name).set(sum(map(c.table.estimated_keys, open_partitions)))
    c.metrics.gpu_memory_bytes.set(c.loaded.scorer.gpu_bytes() if c.loaded else 0)
    c.metrics.state_size_bytes.labels(c.table.name).set(sum(map(c.table.bytes_on_disk, open_partitions)))


def _disk_free(c: Components) -> int:
    directory = c.settings.state.directory
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    c.metrics.disk_free_bytes.set(free)
    return free
