"""What changes by itself: heartbeat, lag, sizes, recovery.

It is measured every second and written to health and metrics.
"""

import asyncio
import shutil
from pathlib import Path
from time import monotonic

import structlog

from worker.ops import descriptors
from worker.ops.health import Health, Recovery
from worker.ops.metrics import Metrics
from worker.pipeline.model import Model
from worker.pipeline.refreshing import Refreshing
from worker.runtime.app import RuntimeApp
from worker.runtime.table import BatchTable

EVERY = 1.0
SETTLED_WITHIN = 0.05
"""Seconds in which the end of a rebalance or a recovery is seen."""
SIZES_EVERY = 10
RECOVERY_LOG_EVERY = 5

log = structlog.get_logger(__name__)


class Monitor:
    """Looks at the runtime, the table and the disk."""

    def __init__(
        self,
        app: RuntimeApp,
        table: BatchTable,
        directory: Path,
        model: Model,
        refreshing: Refreshing,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """`directory` is where the state lies."""
        self._app, self._table, self._directory, self._model = app, table, directory, model
        self._refreshing, self._health, self._metrics = refreshing, health, metrics

    async def watch(self) -> None:
        """Watch for ever."""
        turn, health = 0, self._health
        while True:
            health.heartbeat = monotonic()
            health.rebalancing = bool(self._app.rebalancing)
            health.descriptors_free = descriptors.free()
            self._recovery()
            if turn % RECOVERY_LOG_EVERY == 0 and health.recovery and health.recovery.remaining:
                progress = self._app.tables.recovery.progress
                log.info("recovering the table", read=progress.read, left=progress.remaining)
            self._queue()
            if turn % SIZES_EVERY == 0:
                health.disk_free = self._disk_free()
                self._sizes()
                if self._model.is_loaded:
                    await self._refreshing.measure()
            turn += 1
            await self._pause()

    async def _pause(self) -> None:
        """Wait until it is time to look again.

        This ends at once where a rebalance or a recovery ends, so that /ready follows.
        """
        until = monotonic() + EVERY
        while (left := until - monotonic()) > 0:
            await asyncio.sleep(min(left, SETTLED_WITHIN))
            rebalanced = self._health.rebalancing and not self._app.rebalancing
            recovered = self._health.recovery and not self._app.tables.recovery.in_recovery
            if rebalanced or recovered:
                return

    def _recovery(self) -> None:
        recovery, name = self._app.tables.recovery, self._table.name
        progress = recovery.progress
        self._metrics.recovery_remaining_events.labels(name).set(progress.remaining)
        whole = progress.read + progress.remaining
        self._metrics.recovery_progress_ratio.labels(name).set(
            progress.read / whole if progress.remaining else 1.0
        )
        self._health.recovery = (
            Recovery(progress.remaining, progress.fell_at, progress.answered_at)
            if recovery.in_recovery
            else None
        )

    def _queue(self) -> None:
        consumer = self._app.consumer_or_none
        if consumer is None:
            return
        for tp, done in consumer.ledger.positions().items():
            if (end := consumer.end_of(tp)) is not None:
                self._metrics.consumer_lag.labels(*tp).set(max(end - done, 0))
        self._metrics.queue_depth.set(self._app.waiting_records)

    def _sizes(self) -> None:
        table, model = self._table, self._model
        partitions = table.partitions_open
        self._metrics.state_keys.labels(table.name).set(sum(map(table.estimated_keys, partitions)))
        self._metrics.gpu_memory_bytes.set(
            model.recommender.scorer.gpu_bytes() if model.is_loaded else 0
        )
        self._metrics.state_size_bytes.labels(table.name).set(
            sum(map(table.bytes_on_disk, partitions))
        )

    def _disk_free(self) -> int:
        self._directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._directory).free
        self._metrics.disk_free_bytes.set(free)
        return free
