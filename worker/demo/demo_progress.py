"""What is known while the demo runs.

Only the scenario writes it, and the view and the report read it.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from worker.demo.households import DemoVisit
from worker.demo.lists import Change, Listed, Lists
from worker.demo.prequential import Scores

RECENT_SECONDS = 5.0
"""Over which the rates of the live view are taken."""
SHOWN_SECONDS = 4.0
"""How long the live view shows one household."""


@dataclass(slots=True)
class Step:
    """A step of the start-up."""

    name: str
    began: float
    seconds: float | None = None
    """None while it goes on."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One household's lists before and after."""

    household: str
    visit: DemoVisit | None
    """What it did in between; None where the list was made again unasked."""
    date: int
    """Unix seconds, of the replay."""
    before: Listed
    after: Listed
    at: float


@dataclass(slots=True)
class DemoProgress:
    """How far the demo is. The scenario writes it."""

    broker: str = ""
    prefix: str = ""
    metrics_url: str = ""
    embedded: bool = True
    names: dict[str, str] = field(default_factory=dict)
    """Of the products, by id: short, and each another one."""
    example: str = ""
    """Id of a product that many buy."""
    simulates: bool = True
    """Whether looks are simulated."""
    note: str = ""
    """What else there is to know of this run."""
    reading: str = ""
    """What was read of the shop's files, left out, and why; empty of the bundled data."""
    steps: list[Step] = field(default_factory=list)
    seconds_to_first: float | None = None
    households: int = 0
    backfill_events: int = 0
    dead_letters: int = 0
    events: int = 0
    """Replayed and acknowledged."""
    planned: int = 0
    date: int = 0
    """Unix seconds of the newest visit replayed."""
    replay_began: float | None = None
    replay_ended: float | None = None
    lists: Lists = field(default_factory=Lists)
    scores: Scores = field(default_factory=Scores)
    shown: Shown | None = None
    ended: str = "running"
    _samples: deque[tuple[float, int, int]] = field(default_factory=deque)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step."""
        step = Step(name, perf_counter())
        self.steps.append(step)
        yield step
        step.seconds = perf_counter() - step.began

    def show(self, visit: DemoVisit, before: Listed, after: Listed) -> None:
        """Show this household if the last one has been seen long enough.

        It is the newest at that moment, not the best.
        """
        self._show(visit.household, visit, visit.time, before, after)

    def show_change(self, change: Change) -> None:
        """The same of a list that was made again unasked, and is another one."""
        household, before, after = change
        if before.products != after.products:
            self._show(household, None, self.date, before, after)

    def _show(
        self, household: str, visit: DemoVisit | None, date: int, before: Listed, after: Listed
    ) -> None:
        now = perf_counter()
        if self.shown is None or now - self.shown.at >= SHOWN_SECONDS:
            self.shown = Shown(household, visit, date, before, after, now)

    def rates(self) -> tuple[float, float]:
        """Events and lists per second, lately; to be called several times a second."""
        now = perf_counter()
        self._samples.append((now, self.events, self.lists.received))
        while len(self._samples) > 2 and now - self._samples[0][0] > RECENT_SECONDS:
            self._samples.popleft()
        began, events, lists = self._samples[0]
        seconds = max(now - began, 1e-3)
        return (self.events - events) / seconds, (self.lists.received - lists) / seconds

    def replay_seconds(self) -> float:
        """How long the replay has taken, or took."""
        if self.replay_began is None:
            return 0.0
        return (self.replay_ended or perf_counter()) - self.replay_began

    def latency(self) -> dict[str, float | None]:
        """p50 and p99, seconds; None while there is no list of the replay."""
        if not self.lists.latencies:
            return {"p50": None, "p99": None}
        p50, p99 = np.percentile(self.lists.latencies, [50, 99])
        return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
