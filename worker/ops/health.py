"""Is the worker alive, and is it ready?

Pure: a record that the worker keeps, and two questions about it.

Alive never depends on the broker: an outage of the broker must not restart every worker. Ready only
gates rollouts and tells people what is going on; Kafka moves partitions without asking.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LOOP_BLOCKED_SECONDS = 30.0
"""The event loop beats every second; so long without a beat, something blocks it."""

RECOVERY_STALLED_SECONDS = 120.0
"""Recovery is stalled if the broker answers so long after the last changelog record was read."""

STALLED_SECONDS = 120.0
"""Without progress for so long, with work to do and a broker that answers, it is not alive."""

DISK_FLOOR_BYTES = 256 * 2**20
"""A store that runs out of space breaks for good: below this the worker counts as not alive."""

DESCRIPTOR_FLOOR = 16
"""With fewer file descriptors the worker is not alive: store and connections would fail."""

WAITS_FOR_BROKER = "publish"
"""The stage that lasts as long as the broker is away."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far the recovery of the tables is.

    Replaced as a whole, so that the HTTP thread never sees half of it.
    """

    remaining: int
    """Changelog records still to be read back."""
    fell_at: float
    """Monotonic time when `remaining` last fell, or when recovery began."""
    answered_at: float
    """Monotonic time of the broker's last answer to the recovery's reader."""


@dataclass(frozen=True, slots=True)
class ConsumerProgress:
    """How far the worker is behind the broker; replaced as a whole. Times are monotonic."""

    behind: int
    """Records that the broker has and the worker has not processed."""
    done: int
    """Sum of the offsets below which all is processed: it moves with every record."""
    moved_at: float
    """When a record was last processed, or nothing was left to do."""
    answered_at: float
    """The broker's last answer to the question where its topics end."""


@dataclass(slots=True)
class Health:
    """What the worker knows about itself: written by its event loop, read by the HTTP thread."""

    heartbeat: float | None = None
    """Monotonic time of the event loop's last beat; None until it runs."""
    assigned: bool = False
    """Whether an assignment was received; without partitions, too: an idle worker is ready."""
    rebalancing: bool = False
    recovery: Recovery | None = None
    """None while no table is being recovered."""
    starting: str | None = None
    """The step of the start; None before it, and when Kafka is asked for partitions."""
    catalogue_read: bool = False
    """The products topic has been read to its end once."""
    encoder_loading: bool = False
    nothing_to_recommend: bool = False
    """No product is available, so events wait in Kafka."""
    nowhere_to_write: bool = False
    """A topic that is written is missing, or too small, so events wait in Kafka."""
    unread_products: int = 0
    """Product records that could not be read,"""
    unread_because: str = ""
    """the last for this reason."""
    agent_running: bool | None = None
    """None until the agent has started; it ends with the worker only."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Stages that micro-batches are in, each since when; replaced as a whole."""
    progress: ConsumerProgress | None = None
    """None until the broker was asked once."""
    topics: str | None = None
    """What is wrong with the topics on the broker; None while nothing is."""
    stopping: bool = False
    disk_free: int | None = None
    """Free bytes where the state lies; None while unknown."""
    descriptors_free: int | None = None
    """File descriptors that the process may still open; None where the system does not say."""
    fatal: str | None = None
    """The error that ends the process, once there is one."""

    def enter(self, stage: str, now: float) -> None:
        """Note that a micro-batch enters a stage; a stage never has more than one."""
        self.stages = {**self.stages, stage: now}

    def leave(self, stage: str) -> None:
        """Note that the micro-batch has left the stage."""
        self.stages = {name: since for name, since in self.stages.items() if name != stage}


def live(health: Health, now: float) -> tuple[bool, str]:
    """Whether the process should go on, and why not."""
    if health.fatal is not None:
        return False, f"fatal error: {health.fatal}"
    if health.heartbeat is None:
        return True, "starting"
    if (silent := now - health.heartbeat) > LOOP_BLOCKED_SECONDS:
        return False, f"the event loop has been blocked for {silent:.0f} s"
    reason = next((stall for stall in _stalls(health, now) if stall), "ok")
    return reason == "ok", reason


def _stalls(health: Health, now: float) -> Iterator[str | None]:
    """Return what stands still that should not.

    It is measured by the broker's answers: while it is away, waiting is no fault.
    """
    recovery, progress, disk_free = health.recovery, health.progress, health.disk_free
    if recovery and (stalled := recovery.answered_at - recovery.fell_at) > RECOVERY_STALLED_SECONDS:
        yield f"recovery has stalled for {stalled:.0f} s with {recovery.remaining} events left"
    if health.agent_running is False and not health.stopping:
        yield "the agent has ended: events are not processed any more"
    for stage, since in health.stages.items():
        if stage != WAITS_FOR_BROKER and (stalled := now - since) > STALLED_SECONDS:
            yield f"a micro-batch has been in the stage {stage} for {stalled:.0f} s"
    waits = health.nothing_to_recommend or health.nowhere_to_write
    at_rest = not (health.stages or health.rebalancing or recovery or waits)
    if (
        progress
        and progress.behind
        and at_rest
        and progress.answered_at - progress.moved_at > STALLED_SECONDS
    ):
        stalled = progress.answered_at - progress.moved_at
        yield f"{progress.behind} events wait and none has been processed for {stalled:.0f} s"
    if disk_free is not None and disk_free < DISK_FLOOR_BYTES:
        yield (
            f"disk nearly full: {disk_free} bytes free where"
            f" the state lies, {DISK_FLOOR_BYTES} are needed"
        )
    if (free := health.descriptors_free) is not None and free < DESCRIPTOR_FLOOR:
        yield (
            f"only {free} file descriptors are left: raise the"
            " limit (ulimit -n), and see what holds them (lsof)"
        )


def ready(health: Health, now: float) -> tuple[bool, str]:
    """Whether the worker answers events now, and what it waits for if not."""
    alive, reason = live(health, now)
    if not alive:
        return False, reason
    reason = _waits_for(health)
    return reason == "ok", reason


def _waits_for(health: Health) -> str:
    recovery = health.recovery
    encoder = ": the encoder is loading" if health.encoder_loading else ""
    obstacles = (
        (health.stopping, "stopping"),
        (health.heartbeat is None, "starting"),
        (health.topics is not None, str(health.topics)),
        (health.starting is not None, str(health.starting)),
        (not health.assigned, "no assignment from the consumer group yet"),
        (health.rebalancing, "rebalancing"),
        (recovery is not None, f"recovering: {recovery.remaining if recovery else 0} events left"),
        (not health.catalogue_read, f"the products topic is not read to its end yet{encoder}"),
        (health.nothing_to_recommend, f"no product is available{_unread(health)}{encoder}"),
    )
    return next((reason for applies, reason in obstacles if applies), "ok")


def _unread(health: Health) -> str:
    if not health.unread_products:
        return ""
    return (
        f" ({health.unread_products} product records could not"
        f" be read, the last because of {health.unread_because})"
    )
