"""What the worker is composed of, handed to every part of it; `worker.app.create_app` makes it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.health import Health
from worker.metrics import Metrics
from worker.model_thread import ModelThread
from worker.recommender import Recommender
from worker.runtime.app import RuntimeApp
from worker.runtime.ledger import TopicPartition
from worker.runtime.table import BatchTable
from worker.settings import Settings


@dataclass(slots=True)
class Components:
    """The parts, wired."""

    settings: Settings
    app: RuntimeApp
    source: Any
    """Faust channel over all input topics."""
    table: BatchTable
    families: Mapping[str, str]
    """Topic name to what it holds: `purchases`, `users`, `products` ..."""
    model: ModelThread
    recommender: Recommender
    metrics: Metrics
    health: Health
    catalogue_read: asyncio.Event = field(default_factory=asyncio.Event)
    dead_letter_partitions: int = 1

    @property
    def producer(self) -> Any:
        """Faust's aiokafka producer."""
        return self.app.producer._producer

    @property
    def epoch(self) -> int:
        """The ledger's epoch: a micro-batch of another one is no longer ours."""
        epoch: int = self.app.consumer.ledger.epoch
        return epoch

    def order(self, tp: TopicPartition) -> tuple[str, int]:
        """Sort key that makes the order of a batch's topics the same in every process."""
        return self.families[tp[0]], tp[1]

    def is_live(self, event_time: int) -> bool:
        """Whether an event of this Unix time is answered with a list, or only folded."""
        score_from: datetime | None = self.settings.recommendations.score_from
        return score_from is None or event_time >= score_from.timestamp()
