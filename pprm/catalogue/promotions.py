"""What is promoted where and when.

Part of what a shop says of its products, and one of the best predictors there is.

Pure arrays. A product's record carries its promotions with their times, so what holds at a moment
follows from the newest record alone: no history is kept.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part, record
from pprm.state.user_state import DAY

DISPLAY, MAILER, FEATURE = 1, 2, 4
"""Bits of a promotion: on display in the store, in the mailer, featured (its front page, say)."""
ALL_STORES = 0
ENTRY = np.dtype([("starts", "<u4"), ("until", "<u4"), ("store", "<u4"), ("code", "u1")])
"""Unix seconds, `user_state.store_code` or `ALL_STORES`, bits."""
WEEK = 7 * DAY
DAYS_KEPT = 8
"""Days of which what holds is remembered: events of a day may come between those of others."""

BITS = {"mailer": MAILER, "display": DISPLAY, "feature": FEATURE}
CHANGING = ("mailer", "display")
SHARES = (*BITS, *(f"{name}_change" for name in CHANGING))
AT_STORE = ("display", "mailer", "feature", "before", "has_data")
_DISPLAY, _MAILER, _FEATURE, _BEFORE, _HAS_DATA = (
    AT_STORE.index(name) for name in ("display", "mailer", "feature", "before", "has_data")
)


def code(display: str | None, mailer: str | None) -> int:
    """Bits of a promotion as the shop words it."""
    return (
        (DISPLAY if display else 0)
        | (MAILER if mailer else 0)
        | (FEATURE if "feature" in (mailer or "") else 0)
    )


@dataclass(frozen=True, slots=True)
class Promoted:
    """What is promoted on a day, in `rows` products."""

    shares: Floats
    """Features of each product, as `SHARES`, [rows, 5].

    Of the stores that promote anything, the share that promotes it, and the change since a week
    before.
    """
    _now: NDArray[Any]
    """(store, row, code) of what holds, by store."""
    _before: NDArray[Any]

    def at_store(self, store: int, rows: NDArray[np.int64]) -> Floats:
        """Return features of these products at a store, as `AT_STORE`, [len(rows), 5].

        They are 0 where the store is unknown.
        """
        out = np.zeros((len(rows), len(AT_STORE)), np.float32)
        if store:
            _at_store(self._now, self._before, store, rows, out)
        return out


@compiled
def _at_store(
    now: NDArray[Any], before: NDArray[Any], store: int, rows: NDArray[np.int64], out: Floats
) -> None:
    everywhere, here = _of_store(now, np.int64(ALL_STORES)), _of_store(now, store)
    everywhere_before = _of_store(before, np.int64(ALL_STORES))
    here_before = _of_store(before, store)
    has_data = len(everywhere) + len(here) > 0
    for k in range(len(rows)):
        code = _code(everywhere, rows[k]) | _code(here, rows[k])
        out[k, _DISPLAY], out[k, _MAILER] = code & DISPLAY > 0, code & MAILER > 0
        out[k, _FEATURE] = code & FEATURE > 0
        out[k, _BEFORE] = _code(everywhere_before, rows[k]) | _code(here_before, rows[k]) > 0
        out[k, _HAS_DATA] = has_data


@part
def _of_store(entries: NDArray[Any], store: Any) -> Any:
    """The entries of a store; all are in order of store, then row."""
    no_row = np.int64(-1)
    return entries[_first(entries, store, no_row) : _first(entries, store + 1, no_row)]


@part
def _first(entries: NDArray[Any], store: Any, row: Any) -> int:
    """Number of entries before this place in the order."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        at = np.int64(entries[middle].store)
        if at < store or (at == store and entries[middle].row < row):
            low = middle + 1
        else:
            high = middle
    return low


@part
def _code(entries: NDArray[Any], row: int) -> Any:
    """Bits of a product among the entries of one store."""
    code = np.int64(0)
    if len(entries) == 0:
        return code
    at = _first(entries, np.int64(entries[0].store), row)
    while at < len(entries) and entries[at].row == row:
        code |= np.int64(entries[at].code)
        at += 1
    return code


_HELD = record([("store", "<u4"), ("row", "<i4"), ("code", "u1")])


class Promotions:
    """The promotions of all products, by catalogue row. One thread owns it."""

    def __init__(self) -> None:
        self.version = 0
        self._of: dict[int, NDArray[Any]] = {}
        self._entries: tuple[NDArray[np.int32], NDArray[Any]] | None = None
        self._days: OrderedDict[tuple[int, int], Promoted] = OrderedDict()
        self._stores: dict[int, int] = {}
        """How many stores promote anything, by day; -1 where none does: promotions are unknown."""

    def __len__(self) -> int:
        return len(self._of)

    def put(self, row: int, entries: Sequence[tuple[int, int, int, int]] | NDArray[Any]) -> None:
        """Replace what is known of a product: (starts, until, store, code) each."""
        if not len(entries):
            if self._of.pop(row, None) is None:
                return
        else:
            self._of[row] = (
                entries if isinstance(entries, np.ndarray) else np.array(list(entries), ENTRY)
            )
        self.version += 1
        self._entries = None
        self._days.clear()
        self._stores.clear()

    def at(self, now: float, rows: int) -> Promoted:
        """What holds on the day of this Unix time, for a catalogue of so many rows."""
        key = int(now // DAY), rows
        if key not in self._days:
            self._days[key] = self._make(key[0] * DAY, rows)
            while len(self._days) > DAYS_KEPT:
                self._days.popitem(last=False)
        self._days.move_to_end(key)
        return self._days[key]

    def share(self, row: int, now: float) -> tuple[float, float] | None:
        """Shares of stores with a product in the mailer and on display, on the day of a Unix time.

        As in `Promoted.shares`, for one product without laying out all. None where nothing is
        promoted that day.
        """
        day = int(now // DAY)
        if day not in self._stores:
            held = self._held(day * DAY)
            self._stores[day] = _count_stores(held) if len(held) else -1
        stores, entries = self._stores[day], self._of.get(row)
        if stores < 0:
            return None
        if entries is None:
            return 0.0, 0.0
        mine = entries[_holds(entries, day * DAY)]
        weights = np.where(mine["store"] == ALL_STORES, 1.0, 1.0 / max(stores, 1))
        mailer, display = (
            min(float(weights[(mine["code"] & bit) > 0].sum()), 1.0) for bit in (MAILER, DISPLAY)
        )
        return mailer, display

    def _make(self, start: float, rows: int) -> Promoted:
        now, before = self._held(start), self._held(start - WEEK)
        shares, last = _shares(now, rows), _shares(before, rows)
        changes = {f"{name}_change": shares[name] - last[name] for name in CHANGING}
        named = shares | changes
        return Promoted(np.stack([named[name] for name in SHARES], 1), now, before)

    def _held(self, moment: float) -> NDArray[Any]:
        if self._entries is None:
            lengths = [len(entries) for entries in self._of.values()]
            row = np.repeat(np.fromiter(self._of, np.int32, len(self._of)), lengths)
            self._entries = row, np.concatenate([np.zeros(0, ENTRY), *self._of.values()])
        row, entries = self._entries
        holds = _holds(entries, moment)
        held = np.zeros(int(holds.sum()), _HELD)
        held["store"], held["row"], held["code"] = (
            entries["store"][holds],
            row[holds],
            entries["code"][holds],
        )
        return held[np.lexsort((held["row"], held["store"]))]


def _holds(entries: NDArray[Any], moment: float) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = (entries["starts"] <= moment) & (entries["until"] > moment)
    return holds


def _count_stores(held: NDArray[Any]) -> int:
    return len(np.unique(held["store"][held["store"] != ALL_STORES]))


def _shares(held: NDArray[Any], rows: int) -> dict[str, Floats]:
    """As `BITS`, [rows] each; a promotion in all stores is a share of 1."""
    everywhere, stores = held["store"] == ALL_STORES, _count_stores(held)
    weights = np.where(everywhere, 1.0, 1.0 / max(stores, 1))
    sums = {
        name: np.bincount(held["row"], weights * ((held["code"] & bit) > 0), rows)
        for name, bit in BITS.items()
    }
    return {name: np.minimum(sum_, 1.0).astype(np.float32) for name, sum_ in sums.items()}
