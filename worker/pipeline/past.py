"""The past: events before `recommendations.score_from`, folded and not answered.

The log says when all are folded.
"""

from dataclasses import dataclass

LEAST = 1000
"""Events of the past after which it is logged again: stragglers come one by one."""


@dataclass(slots=True)
class Past:
    """What was folded since it was logged last."""

    events: int = 0
    new_states: int = 0
    """Of shoppers of whom nothing was known."""
    began: float = 0.0
    _is_told: bool = False

    def fold(self, events: int, new_states: int, now: float) -> None:
        """So many more are folded, into so many new states; `now` is any clock in seconds."""
        if events and not self.events:
            self.began = now
        self.events += events
        self.new_states += new_states

    def end(self, now: float) -> dict[str, float] | None:
        """Nothing more waits: returns what to tell, None where that is nothing."""
        if self.events < (LEAST if self._is_told else 1):
            return None
        told = {
            "events": self.events,
            "seconds": round(now - self.began, 1),
            "new_states": self.new_states,
        }
        self.events, self.new_states, self._is_told = 0, 0, True
        return told
