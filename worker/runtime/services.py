"""Long-running coroutines as Faust services, so that they start and stop in order with the app."""

from collections.abc import Awaitable, Callable

from mode import Service

from worker.fatal import exit_now


class Background(Service):  # type: ignore[misc]
    """Runs a coroutine beside the stream; when it fails, the process ends."""

    def __init__(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        self.what, self.run = what, run
        super().__init__()

    async def on_start(self) -> None:
        """Start the coroutine."""
        self.add_future(self._guard())

    async def _guard(self) -> None:
        try:
            await self.run()
        except Exception as error:
            exit_now(f"{self.what} failed", error)


class Before(Service):  # type: ignore[misc]
    """Runs a coroutine to its end before what starts after it."""

    def __init__(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        self.what, self.run = what, run
        super().__init__()

    async def on_start(self) -> None:
        """Wait for the coroutine."""
        try:
            await self.run()
        except Exception as error:
            exit_now(f"{self.what} failed", error)
