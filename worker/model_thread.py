"""The one thread in which the model lives.

Scoring never blocks the event loop, and nothing in pprm needs a lock.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ModelThread:
    """Runs functions one after the other in a thread of its own.

    One event loop submits them.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._unfinished: set[Future[Any]] = set()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for the function's result; its exceptions come out here."""
        future = self._executor.submit(function, *args, **kwargs)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return await asyncio.wrap_future(future)

    async def run_short(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run at once, in this thread, where the model's thread is idle; else as `run`.

        Nobody else touches the model then.

        For what takes microseconds: the way to the thread and back takes most of a millisecond.
        """
        if self._unfinished:
            return await self.run(function, *args, **kwargs)
        return function(*args, **kwargs)
