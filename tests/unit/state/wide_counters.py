"""Counters of products bought and looked at, all held in full.

What the fold keeps, without the layout's omissions.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pprm.core.events import Event, Interaction, Kind
from pprm.state.user_state import (
    BASKET_DECAY,
    BROWSE_HALF_LIVES,
    BROWSED_DTYPE,
    COUNTERS_DTYPE,
    HALF_LIVES,
    UserState,
)

DAY = 86_400.0
AGAIN = ["count", "decay7", "decay28", "decay112", "basket_decay", "first", "ring"]


def folded(events: Iterable[Event], most: int) -> tuple[list[int], NDArray[Any]]:
    """Products and their counters after events, each counter in full from the first purchase on.

    At most so many.
    """
    kept: dict[int, NDArray[Any]] = {}
    basket, number = None, 0
    for event in events:
        if not isinstance(event, Interaction) or event.kind is not Kind.PURCHASE:
            continue
        if (key := event.basket or event.time) != basket:
            basket, number = key, number + 1
        if event.product in kept:
            _count(kept[event.product], event.time, number)
            continue
        if len(kept) == most:
            del kept[min(kept, key=lambda product: _weight(kept[product]))]
        kept[event.product] = np.array(
            (1, 1, 1, 1, 1, event.time, event.time, number, 1), COUNTERS_DTYPE
        )
    return list(kept), np.array(list(kept.values()), COUNTERS_DTYPE)


def looked(events: Iterable[Event], most: int) -> tuple[list[int], NDArray[Any]]:
    """Products looked at and their counters after events, each in full from the first look on.

    At most so many.
    """
    kept: dict[int, NDArray[Any]] = {}
    for event in events:
        if not isinstance(event, Interaction) or event.kind in (Kind.PURCHASE, Kind.REVIEW):
            continue
        if event.product not in kept:
            if len(kept) == most:
                del kept[min(kept, key=lambda product: int(kept[product]["last"]))]
            kept[event.product] = np.array((0, 0, 0, 0, 0, 0, event.time), BROWSED_DTYPE)
        _count_look(kept[event.product], event)
    return list(kept), np.array(list(kept.values()), BROWSED_DTYPE)


def _count_look(row: NDArray[Any], event: Interaction) -> None:
    look, last = event.kind in (Kind.VIEW, Kind.SEARCH_CLICK), int(row["last"])
    newest, (session, day, week) = max(last, event.time), BROWSE_HALF_LIVES
    added = {
        "session": (look, session), "day": (look, day), "week": (look, week),
        "dwell": (event.dwell / 60, week),
        "cart": (event.kind is Kind.ADD_TO_CART, week),
        "removed": (event.kind is Kind.REMOVE_FROM_CART, week),
    }  # fmt: skip
    for name, (more, days) in added.items():
        before, now = (2.0 ** ((at - newest) / (DAY * days)) for at in (last, event.time))
        row[name] = float(row[name]) * before + more * now
    row["last"] = newest


def _weight(row: NDArray[Any]) -> float:
    return float(np.log2(row["decay112"]) + float(row["last"]) / (DAY * HALF_LIVES[2]))


def _count(row: NDArray[Any], time: int, basket: int) -> None:
    later, last = basket - int(row["basket"]), int(row["last"])
    if not later:
        return
    newest = max(last, time)
    for name, days in zip(("decay7", "decay28", "decay112"), HALF_LIVES, strict=True):
        row[name] = float(row[name]) * 2.0 ** ((last - newest) / (DAY * days)) + 2.0 ** (
            (time - newest) / (DAY * days)
        )
    row["basket_decay"] = float(row["basket_decay"]) * BASKET_DECAY**later + 1.0
    row["ring"] = (int(row["ring"]) << later | 1) & (1 << 64) - 1 if later < 64 else 1
    row["count"], row["first"], row["last"], row["basket"] = (
        row["count"] + 1,
        min(row["first"], time),
        newest,
        basket,
    )


def with_counters(state: UserState, counters: NDArray[Any]) -> UserState:
    """The state with other counters of the same products."""
    places = np.flatnonzero(counters["count"] != 1)
    return replace(
        state,
        newest=np.stack([counters["last"], counters["basket"]], axis=1).tobytes(),
        places=places.astype("<u2").tobytes(),
        again=b"".join(np.array(tuple(counters[AGAIN][at]), _packed()).tobytes() for at in places),
    )


def _packed() -> np.dtype[Any]:
    return np.dtype([(name, COUNTERS_DTYPE[name]) for name in AGAIN])
