"""The order of the replay: what must never overtake what."""

import asyncio
import random
from time import perf_counter

import pytest

from worker.demo.households import DAY, DemoVisit
from worker.demo.replay import WINDOW, replay


def visits(count: int, households: int, seed: int = 0) -> list[DemoVisit]:
    chance = random.Random(seed)
    times = sorted(chance.randrange(3 * DAY) for _ in range(count))
    return [
        DemoVisit(time, str(chance.randrange(households)), "purchases", ("a",), str(n))
        for n, time in enumerate(times)
    ]


async def nothing(day: int) -> None:
    pass


def test_a_day_is_announced_when_all_of_the_day_before_is_answered() -> None:
    log: list[str] = []

    async def answer(visit: DemoVisit) -> None:
        await asyncio.sleep(0.001)
        log.append(f"visit of {visit.time // DAY}")

    async def on_day(day: int) -> None:
        log.append(f"day {day // DAY}")

    asyncio.run(replay(visits(30, 10), answer, None, on_day))
    assert log == sorted(log, key=lambda line: (line.split()[-1], line.startswith("visit")))
    assert [line for line in log if line.startswith("day")] == ["day 0", "day 1", "day 2"]


def run(planned: list[DemoVisit], seed: int = 0) -> list[tuple[str, DemoVisit]]:
    """Replay with answers of random duration; returns what began and ended, in order."""
    chance, log = random.Random(seed), []

    async def answer(visit: DemoVisit) -> None:
        log.append(("began", visit))
        await asyncio.sleep(chance.random() / 500)
        log.append(("ended", visit))

    asyncio.run(replay(planned, answer, None, nothing))
    return log


@pytest.mark.parametrize("households", [3, 400])
def test_visits_begin_in_time_order_each_household_at_a_time_within_the_window(
    households: int,
) -> None:
    planned = visits(300, households)
    log = run(planned)
    assert [visit for what, visit in log if what == "began"] == planned
    under_way: set[str] = set()
    most = 0
    for what, visit in log:
        if what == "began":
            assert visit.household not in under_way
            under_way.add(visit.household)
        else:
            under_way.remove(visit.household)
        most = max(most, len(under_way))
    assert most == min(households, WINDOW)


def test_a_day_begins_when_all_lists_of_the_day_before_are_out() -> None:
    under_way, day = 0, 0
    for what, visit in run(visits(300, 400)):
        if what == "began" and visit.time // DAY != day:
            assert under_way == 0
            day = visit.time // DAY
        under_way += 1 if what == "began" else -1
    assert day == 2


def test_the_rate_counts_events() -> None:
    async def answer(_: DemoVisit) -> None:
        pass

    planned = [DemoVisit(0, str(n), "purchases", ("a",) * 5, str(n)) for n in range(11)]
    began = perf_counter()
    asyncio.run(replay(planned, answer, 250, nothing))
    assert perf_counter() - began >= 0.19


def test_an_answer_that_fails_ends_the_replay() -> None:
    async def answer(visit: DemoVisit) -> None:
        await asyncio.sleep(0)
        if visit.basket == "3":
            raise RuntimeError("no list")
        await asyncio.sleep(0.001)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(replay(visits(100, 100), answer, None, nothing))
    assert caught.group_contains(RuntimeError, match="no list")
