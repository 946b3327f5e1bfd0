"""What every act of the demo needs."""

from dataclasses import dataclass
from pathlib import Path

from pprm.data.source import Source
from worker.demo.demo_progress import DemoProgress
from worker.demo.kafka import Publisher
from worker.demo.processes import Worker
from worker.settings import Settings

BUNDLED_SHOP = Source()


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen for a run of the demo."""

    households: int | None = 300
    """Shoppers that take part; None: all."""
    events: int | None = None
    """Replayed events; None: all."""
    rate: float | None = None
    """Replayed events per second; None: as fast as the lists come."""
    broker: str | None = None
    """host:port; None: the embedded one."""
    ui: bool = True
    report: Path | None = None
    source: Source = BUNDLED_SHOP
    """Where the shop's data is."""
    model: Path | None = None
    """Artifact; None: the settings'."""


@dataclass(frozen=True, slots=True)
class DemoContext:
    """A broker with topics, a worker on it, and who publishes."""

    options: DemoOptions
    settings: Settings
    worker: Worker
    publisher: Publisher
    progress: DemoProgress

    def topic(self, family: str) -> str:
        """Name of a topic."""
        return self.settings.topics.name(family)
