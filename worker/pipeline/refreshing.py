"""Turns: when lists are made again unasked, and how many at a time.

Events come first. While none waits, a turn of about a tenth of a second is taken where lists are
due; refreshes take a share of the time at most. A list that holds a product which is not available
waits for no share, and after half of the time that it may take, events wait for it.
"""

from time import monotonic

from worker.ops.metrics import Metrics
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.gate import Gate
from worker.pipeline.model import Model
from worker.pipeline.work import Work
from worker.runtime.stream import Turns
from worker.settings import Recommendations

LOOK_EVERY = 0.25
"""Seconds between two looks whether there is anything to do."""
TURN_SECONDS = 0.1
FIRST, MOST = 20, 1000
"""Lists of the first turn, and of any."""


class Refreshing(Turns):
    """Takes turns for what is due."""

    def __init__(
        self,
        chosen: Recommendations,
        gate: Gate,
        model: Model,
        lists: FreshLists,
        metrics: Metrics,
    ) -> None:
        self._rest = 1 / chosen.refresh_share - 1
        self._patience = chosen.retract_seconds / 2
        self._gate, self._model, self._lists, self._metrics = gate, model, lists, metrics
        self._next = 0.0
        """When the next turn may be, monotonic seconds."""
        self._taken, self._most = 0, FIRST

    def seconds(self) -> float:
        """See `Turns`."""
        if not (self._gate.is_open and self._lists.is_any_due):
            return LOOK_EVERY
        rest = self._next - monotonic()
        return 0.0 if rest <= 0 or self._lists.retraction_waits else min(rest, LOOK_EVERY)

    def presses(self) -> bool:
        """See `Turns`."""
        return self._gate.is_open and self._lists.retraction_waits > self._patience

    def took(self, seconds: float) -> None:
        """See `Turns`."""
        self._next = monotonic() + seconds * self._rest
        if self._taken:
            lists = int(TURN_SECONDS * self._taken / max(seconds, 1e-6))
            self._most = min(max(lists, 1), 2 * self._taken, MOST)

    async def take(self) -> Work:
        """What a turn is about: shoppers whose lists may be due."""
        work = await self._model.run(lambda: self._lists.take(self._most))
        self._taken = len(work.shoppers)
        return work

    async def measure(self) -> None:
        """Tell how much waits."""
        waiting = await self._model.run(self._lists.waiting)
        self._metrics.lists_due.set(waiting)
        self._metrics.retraction_waiting_seconds.set(self._lists.retraction_waits)
