from dataclasses import replace

import pytest

from worker.ops.health import (
    DESCRIPTOR_FLOOR,
    DISK_FLOOR_BYTES,
    LOOP_BLOCKED_SECONDS,
    RECOVERY_STALLED_SECONDS,
    STALLED_SECONDS,
    ConsumerProgress,
    Health,
    Recovery,
    live,
    ready,
)

NOW = 1000.0
WELL = Health(heartbeat=NOW, assigned=True, catalogue_read=True, disk_free=DISK_FLOOR_BYTES)
STALL, IDLE = RECOVERY_STALLED_SECONDS, STALLED_SECONDS


def test_a_working_worker_is_live_and_ready() -> None:
    assert live(WELL, NOW) == (True, "ok")
    assert ready(WELL, NOW) == (True, "ok")


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (Health(), "starting"),
        (replace(WELL, assigned=False), "no assignment"),
        (replace(WELL, rebalancing=True), "rebalancing"),
        (replace(WELL, recovery=Recovery(7, NOW, NOW)), "recovering: 7 events left"),
        (replace(WELL, recovery=Recovery(0, NOW, NOW)), "recovering: 0 events left"),
        (
            replace(WELL, starting="compiling the model's loops", assigned=False),
            "compiling the model's loops",
        ),
        (replace(WELL, catalogue_read=False), "products topic"),
        (replace(WELL, catalogue_read=False, encoder_loading=True), "the encoder is loading"),
        (replace(WELL, nothing_to_recommend=True), "no product is available"),
        (
            replace(
                WELL, nothing_to_recommend=True, unread_products=7, unread_because="json: no JSON"
            ),
            "no product is available (7 product records could not be read, the last because of"
            " json: no JSON)",
        ),
        (replace(WELL, stopping=True), "stopping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_keeps_a_live_worker_from_being_ready(health: Health, reason: str) -> None:
    assert live(health, NOW)[0]
    is_ready, why = ready(health, NOW)
    assert not is_ready
    assert reason in why


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (replace(WELL, fatal="store is broken"), "store is broken"),
        (replace(WELL, heartbeat=NOW - LOOP_BLOCKED_SECONDS - 1), "blocked for 31 s"),
        (
            replace(WELL, recovery=Recovery(5, NOW - STALL - 1, NOW)),
            "stalled for 121 s with 5 events left",
        ),
        (Health(fatal="model refused"), "model refused"),
        (replace(WELL, disk_free=DISK_FLOOR_BYTES - 1), "disk nearly full"),
        (replace(WELL, descriptors_free=DESCRIPTOR_FLOOR - 1), "only 15 file descriptors are left"),
        (replace(WELL, agent_running=False), "the agent has ended"),
        (
            replace(WELL, stages={"publish": NOW, "score": NOW - IDLE - 1}),
            "in the stage score for 121 s",
        ),
        (replace(WELL, progress=ConsumerProgress(7, 100, NOW - IDLE - 1, NOW)), "7 events wait"),
    ],
    ids=[
        "fatal",
        "loop blocked",
        "recovery stalled",
        "fatal while starting",
        "disk",
        "descriptors",
        "agent gone",
        "model stuck",
        "lag",
    ],
)
def test_what_ends_a_worker_also_ends_its_readiness(health: Health, reason: str) -> None:
    for question in (live, ready):
        answer, why = question(health, NOW)
        assert not answer
        assert reason in why


def test_events_that_wait_for_a_product_are_no_reason_to_restart() -> None:
    waiting = replace(
        WELL, nothing_to_recommend=True, progress=ConsumerProgress(7, 100, NOW - 3600, NOW)
    )
    assert live(waiting, NOW)[0] and not ready(waiting, NOW)[0]


def test_an_absent_broker_is_no_reason_to_restart() -> None:
    """The broker went silent during recovery an hour ago.

    The loop beats, and a restart would help nobody.
    """
    waiting = replace(WELL, recovery=Recovery(5, NOW - 3600, NOW - 3600))
    assert live(waiting, NOW)[0]
    assert not ready(waiting, NOW)[0]
    assert live(Health(heartbeat=NOW), NOW + 1)[0], (
        "never assigned, since the broker was never there"
    )
    assert live(replace(WELL, progress=ConsumerProgress(7, 100, NOW - 3600, NOW - 3600)), NOW)[0], (
        "nobody tells where it ends"
    )
    assert live(replace(WELL, stages={"publish": NOW - 3600}), NOW)[0], (
        "acknowledgements do not come"
    )


def test_lag_alone_is_no_stall() -> None:
    """Records wait: during a rebalance, a recovery or a batch at work that is how it should be."""
    waiting = ConsumerProgress(7, 100, NOW - 3600, NOW)
    for busy in (
        {"rebalancing": True},
        {"recovery": Recovery(3, NOW, NOW)},
        {"stages": {"score": NOW}},
    ):
        assert live(replace(WELL, progress=waiting, **busy), NOW)[0]
    assert live(replace(WELL, progress=ConsumerProgress(10**9, 100, NOW - 1, NOW)), NOW)[0]
    assert live(replace(WELL, agent_running=False, stopping=True), NOW)[0]


def test_a_recovery_that_falls_is_live_however_long_it_takes() -> None:
    assert live(replace(WELL, recovery=Recovery(10**9, NOW - 1, NOW)), NOW)[0]


def test_a_disk_of_unknown_size_does_not_block() -> None:
    assert ready(replace(WELL, disk_free=None, descriptors_free=None), NOW)[0]
