"""When there is a turn, and how much is done in it."""

import asyncio
from typing import Any

import pytest

from tests.unit.pipeline.fakes import model_of
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline import refreshing
from worker.pipeline.gate import Gate
from worker.pipeline.refreshing import FIRST, LOOK_EVERY, TURN_SECONDS, Refreshing
from worker.pipeline.work import Shopper, Work
from worker.settings import Recommendations


class Lists:
    """So many are due; and how long a retraction has waited."""

    def __init__(self) -> None:
        self.count, self.retraction_waits = 0, 0.0

    @property
    def is_any_due(self) -> bool:
        return self.count > 0

    def take(self, most: int) -> Work:
        taken = min(self.count, most)
        self.count -= taken
        return Work({0: {b"%d" % n: Shopper(0, b"%d" % n) for n in range(taken)}}, is_turn=True)

    def waiting(self) -> int:
        return self.count


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(refreshing, "monotonic", lambda: made.now)
    return made


def made(lists: Lists, *, is_open: bool = True, **chosen: Any) -> tuple[Refreshing, Any]:
    gate, instruments = Gate(Health(), answers_without_products=False), metrics.create()
    gate.catalogue_is_read(available=int(is_open))
    settings = Recommendations(**chosen)
    turns = Refreshing(settings, gate, model_of(None), lists, instruments)  # type: ignore[arg-type]
    return turns, instruments


def test_there_is_a_turn_where_something_is_due_and_events_are_answered(clock: Clock) -> None:
    lists = Lists()
    turns, _ = made(lists)
    assert turns.seconds() == LOOK_EVERY
    lists.count = 3
    assert turns.seconds() == 0 and not turns.presses()
    closed, _ = made(lists, is_open=False)
    lists.retraction_waits = 999
    assert closed.seconds() == LOOK_EVERY and not closed.presses()


@pytest.mark.parametrize(("share", "rest"), [(0.2, 0.4), (0.5, 0.1), (1.0, 0.0)])
def test_turns_take_their_share_of_the_time(clock: Clock, share: float, rest: float) -> None:
    lists = Lists()
    lists.count = 99
    turns, _ = made(lists, refresh_share=share)
    turns.took(0.1)
    waited = 0.0
    while (left := turns.seconds()) > 1e-9:
        assert left <= LOOK_EVERY
        clock.now += left
        waited += left
    assert waited == pytest.approx(rest)
    turns.took(0.1)
    lists.retraction_waits = 0.001
    assert turns.seconds() == 0, "a retraction waits for no share"


def test_a_retraction_presses_when_half_of_its_time_is_over(clock: Clock) -> None:
    lists = Lists()
    turns, _ = made(lists, retract_seconds=60)
    for waits, presses in ((0.0, False), (29.0, False), (31.0, True)):
        lists.retraction_waits = waits
        assert turns.presses() is presses


def test_a_turn_is_as_large_as_a_tenth_of_a_second_allows(clock: Clock) -> None:
    lists, sizes = Lists(), []
    lists.count = 10_000
    turns, _ = made(lists)
    for _ in range(6):
        size = len(asyncio.run(turns.take()).shoppers)
        sizes.append(size)
        turns.took(size * 0.001)
    assert sizes == [FIRST, 40, 80, 100, 100, 100]
    turns.took(100 * 0.4)
    assert len(asyncio.run(turns.take()).shoppers) == 1
    assert TURN_SECONDS == 0.1


def test_what_waits_is_told() -> None:
    lists = Lists()
    lists.count, lists.retraction_waits = 7, 3.0
    turns, instruments = made(lists)
    asyncio.run(turns.measure())
    value = instruments.registry.get_sample_value
    assert value("pprm_lists_due") == 7 and value("pprm_retraction_waiting_seconds") == 3
