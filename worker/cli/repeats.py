"""Events of one id, found wherever they stand in a table; 8 bytes of each in memory."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pprm.data.rows import Event, same_event


@dataclass(frozen=True, slots=True)
class FoundRepeats:
    """Repeats among events that are to be published."""

    known: NDArray[np.uint64]
    """What is there more than once, sorted."""
    given: NDArray[np.bool_]
    """Whether it is among what is too old to be published."""
    count: int
    """Events that are left out."""

    def left_out(self) -> Callable[[int], bool]:
        """Whether the next event in order was there before; asked once for each."""
        given = self.given.copy()

        def asked(known: int) -> bool:
            at = int(np.searchsorted(self.known, np.uint64(known)))
            if not known or at == len(given) or self.known[at] != known:
                return False
            was, given[at] = bool(given[at]), True
            return was

        return asked if self.count else lambda known: False


class Repeats:
    """Events whose id was there before, by 8 bytes of each, as in training."""

    def __init__(self) -> None:
        self._published, self._older = array("Q"), array("Q")

    def add(self, event: Event, is_older: bool) -> int:
        """Take an event, and return what it is known by; 0 where it has no id."""
        if not event.event_id:
            return 0
        known = same_event(event)
        (self._older if is_older else self._published).append(known)
        return known

    def found(self) -> FoundRepeats:
        """What repeats among those published, and what was there before them."""
        wanted = np.frombuffer(self._published, np.uint64)
        known, counts = np.unique(wanted, return_counts=True)
        is_older = np.isin(known, np.frombuffer(self._older, np.uint64))
        doubtful = (counts > 1) | is_older
        count = len(wanted) - int((~is_older).sum())
        return FoundRepeats(known[doubtful], is_older[doubtful], count)
