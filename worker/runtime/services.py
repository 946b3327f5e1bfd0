"""Long-running coroutines as Faust services, so that they start and stop in order with the app."""

from collections.abc import Awaitable, Callable

from mode import Service

from worker.ops.fatal import exit_now
from worker.runtime.absence import RETRY_SECONDS, is_away


class Background(Service):  # type: ignore[misc]
    """Runs a coroutine beside the stream, and again where it ended because the broker was away.

    Any other failure ends the process.
    """

    def __init__(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        self.what, self.run = what, run
        super().__init__()

    async def on_start(self) -> None:
        """Start the coroutine."""
        self.add_future(self._guard())

    async def _guard(self) -> None:
        while not self.should_stop:
            try:
                return await self.run()
            except Exception as error:
                if not is_away(error):
                    exit_now(f"{self.what} failed", error)
                self.log.warning("%s waits for the broker: %r", self.what, error)
                await self.sleep(RETRY_SECONDS)


class Before(Service):  # type: ignore[misc]
    """Runs a coroutine to its end; what comes after it starts only then."""

    def __init__(self, what: str, run: Callable[[], Awaitable[None]]) -> None:
        self.what, self.run = what, run
        super().__init__()

    async def on_start(self) -> None:
        """Wait for the coroutine."""
        try:
            await self.run()
        except Exception as error:
            exit_now(f"{self.what} failed", error)
