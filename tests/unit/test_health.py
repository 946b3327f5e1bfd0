from dataclasses import replace

import pytest

from worker.health import (
    DISK_FLOOR_BYTES,
    LOOP_BLOCKED_SECONDS,
    RECOVERY_STALLED_SECONDS,
    Health,
    Recovery,
    live,
    ready,
)

NOW = 1000.0
WELL = Health(heartbeat=NOW, assigned=True, catalogue_read=True, disk_free=DISK_FLOOR_BYTES)
STALL = RECOVERY_STALLED_SECONDS


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
        (replace(WELL, catalogue_read=False), "products topic"),
        (replace(WELL, disk_free=DISK_FLOOR_BYTES - 1), "disk"),
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
        (replace(WELL, recovery=Recovery(5, NOW - STALL - 1, NOW)), "stalled for 121 s with 5 events left"),
        (Health(fatal="model refused"), "model refused"),
    ],
    ids=["fatal", "loop blocked", "recovery stalled", "fatal while starting"],
)
def test_what_ends_a_worker_also_ends_its_readiness(health: Health, reason: str) -> None:
    for question in (live, ready):
        answer, why = question(health, NOW)
        assert not answer
        assert reason in why


def test_an_absent_broker_is_no_reason_to_restart() -> None:
    """The broker went silent during recovery an hour ago: the loop beats, and a restart would help nobody."""
    waiting = replace(WELL, recovery=Recovery(5, NOW - 3600, NOW - 3600))
    assert live(waiting, NOW)[0]
    assert not ready(waiting, NOW)[0]
    assert live(Health(heartbeat=NOW), NOW + 1)[0], "never assigned, since the broker was never there"


def test_a_recovery_that_falls_is_live_however_long_it_takes() -> None:
    assert live(replace(WELL, recovery=Recovery(10**9, NOW - 1, NOW)), NOW)[0]


def test_a_disk_of_unknown_size_does_not_block() -> None:
    assert ready(replace(WELL, disk_free=None), NOW)[0]
