"""The replay of visits in time order.

A household's next visit waits for the list that follows its last one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from time import perf_counter
from typing import Any, TypeAlias

from worker.demo.households import DAY, DemoVisit

WINDOW = 32
"""Households whose list is under way at most."""

Answer: TypeAlias = Callable[[DemoVisit], Coroutine[Any, Any, None]]
"""Publishes a visit and returns when its list is out."""
OnDay: TypeAlias = Callable[[int], Awaitable[None]]
"""Called with the Unix time at which a day begins."""


async def replay(
    visits: Iterable[DemoVisit], answer: Answer, rate: float | None, on_day: OnDay
) -> None:
    """Publish visits at `rate` events per second (None: as fast as the lists come).

    A simulated day ends only when all its lists are out: popularity counts whole days, so a list of
    the next day must not be made without purchases of this one. `on_day` is awaited before a day
    begins. Whatever `answer` raises ends the replay.
    """
    under_way: dict[str, asyncio.Task[None]] = {}
    day, due = None, perf_counter()
    async with asyncio.TaskGroup() as group:
        for visit in visits:
            if visit.time // DAY != day:
                await _all(under_way)
                day = visit.time // DAY
                await on_day(day * DAY)
            await _room(under_way, visit.household)
            due = await _pace(due, len(visit.products), rate)
            under_way[visit.household] = group.create_task(answer(visit))


async def _all(under_way: dict[str, asyncio.Task[None]]) -> None:
    if under_way:
        await asyncio.wait(under_way.values())
        under_way.clear()


async def _room(under_way: dict[str, asyncio.Task[None]], household: str) -> None:
    """Wait until this household, and one place in the window, are free."""
    if household in under_way:
        await asyncio.wait([under_way[household]])
    if len(under_way) >= WINDOW:
        await asyncio.wait(under_way.values(), return_when=asyncio.FIRST_COMPLETED)
    for done in [name for name, task in under_way.items() if task.done()]:
        del under_way[done]


async def _pace(due: float, events: int, rate: float | None) -> float:
    """Wait until `due` and return when the next visit is; time lost is not made up by a burst."""
    if rate is None:
        return due
    await asyncio.sleep(max(due - perf_counter(), 0))
    return max(due, perf_counter() - 0.1) + events / rate
