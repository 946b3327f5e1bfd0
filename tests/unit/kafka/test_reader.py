"""A consumer whose broker is away can be closed."""

import asyncio
from typing import Any

from worker.kafka.reader import Fetcher


def test_fetches_that_wait_for_a_broker_are_given_up() -> None:
    async def story() -> list[bool]:
        fetcher: Any = Fetcher.__new__(Fetcher)
        waits = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        fetcher._fetch_task, fetcher._pending_tasks, fetcher._fetch_waiters = (
            waits[0], set(waits[1:]), set(),
        )  # fmt: skip
        await asyncio.sleep(0)
        await fetcher.close()
        return [task.cancelled() for task in waits]

    assert asyncio.run(story()) == [True] * 3
