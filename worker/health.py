"""Is the worker alive, and is it ready? Pure: a record that the worker keeps, and two questions about it.

Alive never depends on the broker: an outage of the broker must not restart every worker. Ready only gates rollouts and
tells people what is going on; Kafka moves partitions without asking.
"""

from dataclasses import dataclass

LOOP_BLOCKED_SECONDS = 30.0
"""The event loop beats every second; this long without a beat, something blocks it that should not."""

RECOVERY_STALLED_SECONDS = 120.0
"""Recovery counts as stalled when the broker still answers this long after the last changelog record was read."""

DISK_FLOOR_BYTES = 256 * 2**20
"""A store that runs out of space breaks for good, so a worker that comes near is not given a rollout."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far the recovery of the tables is; replaced as a whole, so that the HTTP thread never sees half of it."""

    remaining: int
    """Changelog records still to be read back."""
    fell_at: float
    """Monotonic time when `remaining` last fell, or when recovery began."""
    answered_at: float
    """Monotonic time of the broker's last answer to the recovery's reader."""


@dataclass(slots=True)
class Health:
    """What the worker knows about itself: written by its event loop, read by the HTTP thread."""

    heartbeat: float | None = None
    """Monotonic time of the event loop's last beat; None until it runs."""
    assigned: bool = False
    """An assignment has been received since the start; it may hold no partitions, and an idle worker is ready."""
    rebalancing: bool = False
    recovery: Recovery | None = None
    """None while no table is being recovered."""
    catalogue_read: bool = False
    """The products topic has been read to its end once."""
    stopping: bool = False
    disk_free: int | None = None
    """Free bytes where the state lies; None while unknown."""
    fatal: str | None = None
    """The error that ends the process, once there is one."""


def live(health: Health, now: float) -> tuple[bool, str]:
    """Whether the process should go on, and why not."""
    if health.fatal is not None:
        return False, f"fatal error: {health.fatal}"
    if health.heartbeat is None:
        return True, "starting"
    if (silent := now - health.heartbeat) > LOOP_BLOCKED_SECONDS:
        return False, f"the event loop has been blocked for {silent:.0f} s"
    recovery = health.recovery
    # Measured by the broker's answers, not by the clock: a recovery that waits for an absent broker is not stalled.
    if recovery and (stalled := recovery.answered_at - recovery.fell_at) > RECOVERY_STALLED_SECONDS:
        return False, f"recovery has stalled for {stalled:.0f} s with {recovery.remaining} events left"
    return True, "ok"


def ready(health: Health, now: float) -> tuple[bool, str]:
    """Whether the worker answers events now, and what it waits for if not."""
    alive, reason = live(health, now)
    if not alive:
        return False, reason
    reason = _waits_for(health)
    return reason == "ok", reason


def _waits_for(health: Health) -> str:
    recovery, disk_free = health.recovery, health.disk_free
    obstacles = (
        (health.stopping, "stopping"),
        (health.heartbeat is None, "starting"),
        (not health.assigned, "no assignment from the consumer group yet"),
        (health.rebalancing, "rebalancing"),
        (recovery is not None, f"recovering: {recovery.remaining if recovery else 0} events left"),
        (not health.catalogue_read, "the products topic is not read to its end yet"),
        (disk_free is not None and disk_free < DISK_FLOOR_BYTES, f"disk nearly full: {disk_free} bytes free"),
    )
    return next((reason for applies, reason in obstacles if applies), "ok")
