"""What follows from a rebalance: it is counted, and the partitions owned are counted anew."""

from time import monotonic

import structlog

from worker.ops.health import Health
from worker.ops.metrics import Metrics, forget_partitions
from worker.pipeline.ownership import Ownership
from worker.pipeline.popularity import PopularityExchange
from worker.runtime.app import RuntimeApp

log = structlog.get_logger(__name__)


def listen(
    app: RuntimeApp,
    changelog: str,
    ownership: Ownership,
    popularity: PopularityExchange,
    health: Health,
    metrics: Metrics,
) -> None:
    """Count rebalances, time recoveries, and rebuild what the owned partitions' states yield."""
    started = [monotonic()]

    async def revoked(*_: object, **__: object) -> None:
        started[0] = monotonic()
        metrics.rebalances.inc()
        forget_partitions(metrics)

    async def assigned(*_: object, **__: object) -> None:
        started[0] = monotonic()

    async def recovered(*_: object, **__: object) -> None:
        metrics.recovery_duration_seconds.observe(monotonic() - started[0])
        actives = app.assignor.assigned_actives()
        await popularity.take_over(
            frozenset(tp.partition for tp in actives if tp.topic == changelog)
        )
        health.assigned = True
        seconds = round(monotonic() - started[0], 3)
        owned = sorted(ownership.owned)
        log.info("partitions assigned", partitions=owned, recovery_seconds=seconds)

    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_rebalance_complete.connect(recovered, weak=False)
