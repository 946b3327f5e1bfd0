"""The lists in force of a partition's shoppers: which are due, and which hold a product.

In arrays, a row a shopper, so that a pass over all of them takes milliseconds (ADR 24). What is
said here is what to look at: a state decides. Products are kept as 32 bits of their hashes: by
chance a list is looked at that need not be.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pprm.core.hash_table import HashTable
from pprm.core.ids import hash_of
from pprm.state.freshness import NEVER, all_due
from pprm.state.user_state import UserState

RECALLED = 0
"""The due time of a list that must be made again whatever the time is."""
NOTHING = 0
"""Code of no product."""
FEW = 16
"""Products that are looked for one after the other: of more, each list is looked up."""
_FIRST_ROWS = 256


class ListsInForce:
    """Of one partition. One thread owns it."""

    def __init__(self, products: int, period: int, session: int) -> None:
        """Hold lists of so many products, due by `period` and `session` (`freshness.all_due`)."""
        self._period, self._session = period, session
        self._keys = bytearray()
        self._ends = np.zeros(_FIRST_ROWS + 1, np.int64)
        """Where in the keys each row's ends, one place on: row 0 begins at 0."""
        self._hashes = np.zeros(_FIRST_ROWS, np.uint64)
        self._due = np.full(_FIRST_ROWS, NEVER, np.uint32)
        self._active_at = np.zeros(_FIRST_ROWS, np.uint32)
        self._is_known = np.zeros(_FIRST_ROWS, bool)
        self._products = np.zeros((_FIRST_ROWS, products), np.uint32)
        self._count = 0
        self._placed, self._table = 0, HashTable.of(self._hashes[:0])
        self._new: dict[int, int] = {}
        """Rows of hashes that are not in the table yet."""
        self.earliest = NEVER
        """No list is due before, Unix seconds."""

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of it all."""
        arrays = (
            self._ends, self._hashes, self._due, self._active_at, self._is_known, self._products,
            *self._table,
        )  # fmt: skip
        return sum(array.nbytes for array in arrays) + len(self._keys)

    def note(
        self, keys: Sequence[bytes], states: Sequence[UserState], *, is_known: bool = True
    ) -> None:
        """Take in the states of shoppers, each once.

        `is_known`: their readers are known to have the lists, see `known`.
        """
        if not keys:
            return
        hashes = _hashes(keys)
        rows = self._rows(keys, hashes)
        due = all_due(states, hashes, self._period, self._session)
        self._due[rows], self.earliest = due, min(self.earliest, int(due.min()))
        self._active_at[rows] = [state.active_at for state in states]
        self._is_known[rows] = is_known
        self._products[rows] = self._codes(states)

    def due_of(self, key: bytes, state: UserState) -> int:
        """From when on a shopper's list is to be made again, by the state."""
        return int(all_due([state], _hashes([key]), self._period, self._session)[0])

    def known(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether the readers of the lists have those in force for sure.

        Of a partition that was taken over they may have another one: the last owner may have died
        between a list and its state.
        """
        rows = self._look_up(_hashes(keys))
        return (rows >= 0) & self._is_known[rows]

    def recall(self, products: NDArray[np.uint64]) -> int:
        """Have lists that hold any of these products made again at once; returns how many."""
        codes, held = np.unique(_code(products)), self._products[: self._count]
        found = np.isin(held, codes) if len(codes) <= FEW else _look_up(held, codes)
        return self._recall(found)

    def recall_all_but(self, available: NDArray[np.uint64], withdrawn: NDArray[np.uint64]) -> int:
        """`recall` lists that hold a product that is withdrawn, or not known to be available."""
        fine = np.setdiff1d(_code(available), _code(withdrawn))
        fine = np.union1d(fine, [np.uint32(NOTHING)])
        return self._recall(~_look_up(self._products[: self._count], fine))

    def due(self, now: int, active_since: int, most: int) -> list[bytes]:
        """Take out whose lists are due at a Unix time, those due first before the others.

        They are due no more: `note` their states. Shoppers of whom nothing was heard for longer are
        passed over until they come back, but not where a list must be made again at once.
        """
        due = self._due[: self._count]
        rows = np.flatnonzero(due <= now)
        asleep = (self._active_at[rows] < active_since) & (due[rows] != RECALLED)
        due[rows[asleep]] = NEVER
        rows = rows[~asleep]
        if len(rows) > most:
            rows = rows[np.argpartition(due[rows], most)[:most]]
        rows = rows[np.argsort(due[rows], kind="stable")]
        due[rows] = NEVER
        self.earliest = int(due.min(initial=NEVER))
        return [self._key(row) for row in rows.tolist()]

    def waiting(self, now: int) -> int:
        """How many lists are due at a Unix time; of some the shopper may be asleep."""
        return int(np.count_nonzero(self._due[: self._count] <= now))

    @property
    def recalled(self) -> int:
        """How many lists must be made again at once."""
        return self.waiting(RECALLED)

    def _codes(self, states: Sequence[UserState]) -> NDArray[np.uint32]:
        """Codes of the lists, `NOTHING` where they are shorter."""
        width = self._products.shape[1]
        lists = [state.published[: 8 * width].ljust(8 * width, b"\0") for state in states]
        return _code(np.frombuffer(b"".join(lists), np.uint64)).reshape(len(states), width)

    def _recall(self, found: NDArray[np.bool_]) -> int:
        """Recall the lists with a product found, [n, k]."""
        rows = np.flatnonzero(found.any(axis=1))
        self._due[rows] = RECALLED
        self.earliest = RECALLED if len(rows) else self.earliest
        return len(rows)

    def _key(self, row: int) -> bytes:
        return bytes(self._keys[self._ends[row] : self._ends[row + 1]])

    def _look_up(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        rows = self._table.rows(hashes)
        for at in np.flatnonzero(rows < 0).tolist():
            rows[at] = self._new.get(int(hashes[at]), -1)
        return rows

    def _rows(self, keys: Sequence[bytes], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        rows = self._look_up(hashes)
        missing = np.flatnonzero(rows < 0)
        self._reserve(self._count + len(missing))
        for at in missing.tolist():
            row = rows[at] = self._new[int(hashes[at])] = self._count
            self._keys += keys[at]
            self._ends[row + 1], self._hashes[row] = len(self._keys), hashes[at]
            self._count += 1
        if len(self._new) > _FIRST_ROWS + self._placed // 2:
            self._placed, self._table = self._count, HashTable.of(self._hashes[: self._count])
            self._new = {}
        return rows

    def _reserve(self, rows: int) -> None:
        held = len(self._hashes)
        if rows <= held:
            return
        room = max(rows, held + held // 2)
        for name in ("_ends", "_hashes", "_due", "_active_at", "_is_known", "_products"):
            old = getattr(self, name)
            new = np.zeros((room + len(old) - held, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self._due[held:] = NEVER


def _look_up(held: NDArray[np.uint32], codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether each is one of these codes, which are all different."""
    rows = HashTable.of(codes.astype(np.uint64)).rows(held.ravel().astype(np.uint64))
    return (rows >= 0).reshape(held.shape)


def _code(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return hashes.astype(np.uint32)


def _hashes(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.array([hash_of(key) for key in keys], np.uint64)
