"""What the worker is composed of, handed to every part of it; `worker.app.create_app` makes it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pprm.state import user_state
from pprm.state.user_state import StateError, UserState
from worker.model_thread import ModelThread
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.pipeline.past import Past
from worker.pipeline.recommender import Recommender
from worker.runtime.app import RuntimeApp
from worker.runtime.metadata import Topic
from worker.runtime.table import BatchTable
from worker.settings import Settings


@dataclass(slots=True)
class Components:
    """The parts, wired."""

    settings: Settings
    app: RuntimeApp
    table: BatchTable
    families: Mapping[str, str]
    """Topic name to what it holds: `purchases`, `users`, `products` ..."""
    metrics: Metrics
    health: Health
    model: ModelThread = field(default_factory=ModelThread)
    texts: ModelThread = field(default_factory=ModelThread)
    """The thread in which BERT reads: a new product must not hold up the scoring."""
    catalogue_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while events are answered, see `answer_or_wait`; else they wait in Kafka."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the changelog and the table are written: one writer at a time."""
    owned: frozenset[int] = frozenset()
    """Partitions of the table that are this worker's."""
    popularity_published: dict[int, int] = field(default_factory=dict)
    """The last published version of each partition's popularity.

    The model thread removes, the event loop sets.
    """
    topics: dict[str, Topic] = field(default_factory=dict)
    """The topics as they were seen last."""
    past: Past = field(default_factory=Past)
    loaded: Recommender | None = None
    dead_letter_partitions: int = 1
    partitions: int = 1
    """Of each user-keyed topic."""
    product_partitions: int = 1
    misplaced: set[str] = field(default_factory=set)
    """Topics whose records in other partitions than their keys' have been logged."""

    @property
    def recommender(self) -> Recommender:
        """The model, once it is loaded; touch it in the model thread only."""
        assert self.loaded, "the model is loaded before the first event is read"
        return self.loaded

    def log_of(self, topic: str, partition: int) -> int:
        """Return the number of the log that an assigned partition is read from.

        See `worker.runtime.commits.Note`.
        """
        number: int = self.app.consumer.notes[topic, partition].log
        return number

    @property
    def epoch(self) -> int:
        """The ledger's epoch: a micro-batch of another one is no longer ours."""
        epoch: int = self.app.consumer.ledger.epoch
        return epoch

    @property
    def generation(self) -> int:
        """The consumer group's generation: grows with each rebalance."""
        generation: int = self.app.consumer_generation_id
        return generation

    @staticmethod
    def unit(family: str, partition: int) -> str:
        """Return the partitions that are written together.

        They are those of one number in all user-keyed topics, which one worker always has at once.
        """
        return f"products-{partition}" if family == "products" else str(partition)

    def is_live(self, event_time: int) -> bool:
        """Whether an event of this Unix time is answered with a list, or only folded."""
        score_from = self.settings.recommendations.score_from
        return score_from is None or event_time >= score_from.timestamp()

    async def encode(self, texts: Iterable[str]) -> None:
        """Have the encoder know these texts."""
        encoder = self.recommender.encoder
        if unknown := encoder.unknown(texts):
            self.health.encoder_loading = not encoder.is_loaded
            await self.texts.run(encoder.encode, unknown)
            self.health.encoder_loading = False

    def states(self, partitions: Iterable[int]) -> Iterator[UserState]:
        """All shoppers of these partitions whose states can be read."""
        for partition in partitions:
            for _, value in self.table.scan(partition):
                try:
                    state = user_state.decode(value)
                except StateError:  # it becomes a dead letter when its shopper's next event comes
                    continue
                yield state


def answer_or_wait(c: Components) -> None:
    """Answer events while there is something to recommend and somewhere to write it.

    Before, and without, they wait in Kafka.
    """
    waits = c.health.nothing_to_recommend or c.health.nowhere_to_write
    if c.catalogue_read.is_set() and not waits:
        c.may_answer.set()
    else:
        c.may_answer.clear()
