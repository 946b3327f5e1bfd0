"""The past: events before `recommendations.score_from`, folded and not answered.

The log says when all are folded.
"""

from dataclasses import dataclass
from datetime import datetime

LEAST = 1000
"""Events of the past after which it is logged again: stragglers come one by one."""


@dataclass(slots=True)
class Past:
    """Which events are of the past, and what of them was folded since it was logged last."""

    score_from: datetime | None = None
    """Where the past ends; None where there is none."""
    events: int = 0
    new_states: int = 0
    """Of shoppers of whom nothing was known."""
    began: float = 0.0
    _was_logged: bool = False

    def is_live(self, event_time: int) -> bool:
        """Whether an event of this Unix time is answered with a list, or only folded."""
        return self.score_from is None or event_time >= self.score_from.timestamp()

    def fold(self, events: int, new_states: int, now: float) -> None:
        """So many more are folded, into so many new states; `now` is any clock in seconds."""
        if events and not self.events:
            self.began = now
        self.events += events
        self.new_states += new_states

    def end(self, now: float) -> dict[str, float] | None:
        """Nothing more waits: returns what to log, None where that is nothing."""
        if self.events < (LEAST if self._was_logged else 1):
            return None
        summary = {
            "events": self.events,
            "seconds": round(now - self.began, 1),
            "new_states": self.new_states,
        }
        self.events, self.new_states, self._was_logged = 0, 0, True
        return summary
