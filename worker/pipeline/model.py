"""The model in its threads, from before it is loaded."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from worker.model_thread import ModelThread
from worker.ops.health import Health
from worker.pipeline.recommender import Recommender

T = TypeVar("T")


class Model:
    """The recommender, which comes when the worker starts, and the threads in which it works.

    Its catalogue, popularity and scores are touched in one thread only, by `run`. Texts are encoded
    in another: a new product must not hold up the scoring.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._thread, self._encoder_thread = ModelThread(), ModelThread()
        self._recommender: Recommender | None = None

    async def load(self, make: Callable[[], Recommender]) -> Recommender:
        """Make the recommender in the thread in which it works from then on."""
        self._recommender = await self._thread.run(make)
        return self._recommender

    @property
    def is_loaded(self) -> bool:
        """Whether there is a recommender."""
        return self._recommender is not None

    @property
    def recommender(self) -> Recommender:
        """The recommender, once it is loaded."""
        assert self._recommender, "the model is loaded before the first event is read"
        return self._recommender

    async def run(self, function: Callable[[], T]) -> T:
        """Wait for the function's result, in the model's thread."""
        return await self._thread.run(function)

    async def run_short(self, function: Callable[[], T]) -> T:
        """Wait for a function of microseconds; see `ModelThread.run_short`."""
        return await self._thread.run_short(function)

    async def encode(self, texts: Iterable[str]) -> None:
        """Have the encoder know these texts."""
        encoder = self.recommender.encoder
        if unknown := encoder.unknown(texts):
            self._health.encoder_loading = not encoder.is_loaded
            await self._encoder_thread.run(encoder.encode, unknown)
            self._health.encoder_loading = False
