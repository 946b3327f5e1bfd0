"""When a shopper's list is to be made again, though nobody asks.

A list is worth what it is worth when the shopper sees it. One that was made in a visit is for the
rest of that visit, and due when it is over. Any other is due at the shopper's next slot: a fixed
time of the period, which follows from the shopper's id, so that the work is spread over it.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pprm.core.events import Kind
from pprm.state.user_state import INTERACTION, SEQUENCE_DTYPE, UserState
from pprm.state.visit import BELONGS, SESSION

NEVER = (1 << 32) - 1
"""The due time of a list that is never due, and of none."""


def all_due(
    states: Sequence[UserState],
    users: NDArray[np.uint64],
    period: int,
    session: int = SESSION,
) -> NDArray[np.uint32]:
    """Return from when on each shopper's list is to be made again, Unix seconds, [n].

    It is `NEVER` where there is no list, or `period` is 0.

    Args:
        states: of the shoppers.
        users: hashes of their ids, [n].
        period: seconds; 0: no list is ever due.
        session: seconds of rest after which a visit is over.
    """
    listed = np.array([state.listed_at for state in states], np.int64)
    if not (period and len(states)):
        return np.full(len(states), NEVER, np.uint32)
    slots = (users % np.uint64(period)).astype(np.int64)
    at_slot = listed + 1 + (slots - listed - 1) % period
    visit_ends = _last_acts(states) + session
    again = np.where(visit_ends > listed, visit_ends, at_slot)
    return np.where(listed > 0, again, NEVER).astype(np.uint32)


def _last_acts(states: Sequence[UserState]) -> NDArray[np.int64]:
    """Unix seconds of what each shopper did last in the shop."""
    # a purchase may have left the sequence, or been returned since
    purchases = (INTERACTION.pack(0, state.last_purchase, Kind.PURCHASE) for state in states)
    parts = zip(purchases, (state.sequence for state in states), strict=True)
    acts = np.frombuffer(b"".join(chain.from_iterable(parts)), SEQUENCE_DTYPE)
    lengths = [1 + len(state.sequence) // INTERACTION.size for state in states]
    starts = np.cumsum([0, *lengths[:-1]])
    times = np.where(BELONGS[acts["kind"]], acts["time"], 0)
    return np.maximum.reduceat(times, starts).astype(np.int64)
