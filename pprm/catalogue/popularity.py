"""How often each product was bought lately by anybody.

Decayed counters, the sum of all shoppers' own counters.

Scoring uses them as at the start of the event-time day: the same for every shopper and micro-batch
of a day, and no purchase of today can look ahead into a list of today.

Shoppers are partitioned, popularity is not: it is the sum over partitions. A worker counts the
partitions it owns and takes those of the others from their snapshots.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.events import Kind
from pprm.core.hash_table import HashTable
from pprm.state.user_state import (
    DAY,
    INTERACTION,
    KEY,
    MAX_PRODUCTS,
    SEQUENCE_DTYPE,
    UserState,
    counters_of,
)

HALF_LIVES = (np.inf, 7.0, 28.0, np.inf, 7.0, 28.0, 1.0, 3.0)
"""Half-lives in days, per column.

Purchases; first purchases of the product by a shopper; and the last days' purchases, from the
states' sequences. All can be made from the shoppers' states, so that both ways give the same
counts.
"""
COLUMNS = len(HALF_LIVES)
FEATURES = ("week", "month", "all", "trend")
"""Popularity features of a product, as retrieval reads them."""
ALL, WEEK, MONTH, BUYERS, FIRST_WEEK, FIRST_MONTH, ONE_DAY, THREE_DAYS = range(COLUMNS)
FIRSTS = slice(BUYERS, ONE_DAY)
FAST = slice(ONE_DAY, COLUMNS)
MAX_SNAPSHOT = 12_000
"""Products in a snapshot, the most popular ones: 480 kB, which a broker takes by default."""
SNAPSHOT_VERSION = 2

_HEADER = struct.Struct("<BxxxiI")
MAX_SNAPSHOT_BYTES = _HEADER.size + MAX_SNAPSHOT * (8 + 4 * COLUMNS)

Counters = NDArray[np.float64]


class Purchase(NamedTuple):
    """A purchase that counts."""

    product: int
    """Hash."""
    time: int
    """Unix seconds."""
    is_first: bool = False
    """The shopper's first of the product."""
    times: int = 1
    """-1: taken back."""


class Snapshot(NamedTuple):
    """A partition's popularity as of the start of a day: product hashes [n], counters [n, 8]."""

    day: int
    products: NDArray[np.uint64]
    counters: NDArray[np.float32]


@dataclass(slots=True)
class _Waiting:
    """Counts that hold from some later day on, summed per product.

    Bounded by the products, not by the purchases.
    """

    places: dict[int, int] = field(default_factory=dict)
    """Row of a product to its place in `counters`."""
    counters: Counters = field(default_factory=lambda: np.zeros((1, COLUMNS)))

    def add(self, rows: NDArray[np.int64], counters: Counters) -> None:
        places = [self.places.setdefault(row, len(self.places)) for row in rows.tolist()]
        if len(self.places) > len(self.counters):
            self.counters = _grown(self.counters, 2 * len(self.places))
        np.add.at(self.counters, places, counters)

    def sums(self) -> tuple[NDArray[np.int64], Counters]:
        """Rows [n] and counters [n, 8]."""
        return np.fromiter(self.places, np.int64, len(self.places)), self.counters[
            : len(self.places)
        ]


@dataclass(slots=True)
class _Own:
    """A partition that is counted here: counters by row as of the current day."""

    counters: Counters
    waiting: dict[int, _Waiting] = field(default_factory=dict)
    """Counts by the day from which they hold, as of that day.

    Mostly there is one, tomorrow: an event in the future is refused before it comes here, and the
    events of a micro-batch move the day on to the newest.
    """
    changes: int = 0


class _Foreign(NamedTuple):
    """A partition that is counted elsewhere: rows [n], counters [n, 8] as of the start of a day."""

    day: int
    rows: NDArray[np.int64]
    counters: NDArray[np.float32]


class Popularity:
    """Counters per product hash as of the start of `day` (days since 1970). One thread owns it."""

    def __init__(self) -> None:
        self.day = 0
        self.changes = 0
        """Counts what `features` may have changed by: a new day, states or a snapshot added."""
        self._rows: dict[int, int] = {}
        self._placed, self._table = 0, HashTable.of(np.zeros(0, np.uint64))
        """Products in the table, and it: `_rows` for many at once; products are only ever added."""
        self._total: Counters = np.zeros((1024, COLUMNS))
        """The sum over partitions, unless it is `_stale`."""
        self._stale = False
        self._own: dict[int, _Own] = {}
        self._foreign: dict[int, _Foreign] = {}
        self._disowned: set[int] = set()

    def knows(self, product: int) -> bool:
        """Whether a purchase of the product with this hash was counted here."""
        return product in self._rows

    def add(self, purchases: Iterable[Purchase], partition: int = 0) -> None:
        """Count purchases of a partition owned.

        Those of the current day and later wait until their day is over.

        Purchases of a partition that was just given away are its next owner's to count: the batch
        that brings them here will not be committed.
        """
        if partition in self._disowned:
            return
        own = self._partition(partition)
        days: dict[int, list[Purchase]] = {}
        for purchase in purchases:
            # a purchase counts from the day after it, so that no list sees its own day's
            days.setdefault(max(int(purchase.time // DAY) + 1, self.day), []).append(purchase)
        for day, bought in days.items():
            rows, counters = self._count(bought, day)
            if day > self.day:
                own.waiting.setdefault(day, _Waiting()).add(rows, counters)
            else:
                own.changes += 1
                self._add(own, rows, counters)

    def add_state(self, state: UserState, partition: int = 0) -> None:
        """Count all that a shopper of a partition owned has bought."""
        self.add_states([state], partition)

    def add_states(self, states: Sequence[UserState], partition: int = 0) -> None:
        """Count all that shoppers of a partition owned have bought.

        Many at once cost a tenth of one by one.
        """
        buyers = [state for state in states if state.keys]
        if not buyers:
            return
        self.changes += 1
        bought = _bought(buyers)
        # from day 0 the decay of 47 years backwards would overflow
        self.advance(float(bought.counters["last"].max()))
        own = self._partition(partition)
        own.changes += 1
        latest = _latest(buyers, bought)
        self._add(own, self._rows_of(bought.products.tolist()), self._sums(bought, latest))
        if today := _since(buyers, latest, self.day * DAY):  # it counts from tomorrow on
            rows, counters = self._count(today, self.day)
            self._add(own, rows, -counters)
            self.add(today, partition)

    def disown(self, partitions: Iterable[int]) -> None:
        """Stop counting these partitions.

        What they held stands until a snapshot of their next owner comes.
        """
        for partition in partitions:
            self._disowned.add(partition)
            if own := self._own.pop(partition, None):
                rows = np.flatnonzero(own.counters[:, 0])
                self._foreign[partition] = _Foreign(
                    self.day, rows, own.counters[rows].astype(np.float32)
                )
                self._stale = True

    def own(self, partition: int) -> None:
        """Start to count a partition, from nothing."""
        self._disowned.discard(partition)
        self._own.pop(partition, None)
        self._foreign.pop(partition, None)
        self._partition(partition)
        self._stale = True
        self.changes += 1

    def put(self, partition: int, snapshot: Snapshot) -> None:
        """Take a partition's snapshot, unless the partition is counted here."""
        if partition in self._own:
            return
        self.advance(snapshot.day * DAY)
        rows = self._rows_of(snapshot.products.tolist())
        # a copy: the message may go
        held = _Foreign(snapshot.day, rows, snapshot.counters.astype(np.float32))
        before, self._foreign[partition] = self._foreign.get(partition), held
        self._add_foreign(held)
        if before:  # what rounding leaves of it is gone with the next day's sum
            self._add_foreign(before, -1.0)
        self.changes += 1

    def snapshot(self, partition: int) -> Snapshot:
        """Return a partition owned as of the current day, the most popular products first."""
        counters = self._own[partition].counters
        rows = np.flatnonzero(counters[:, 0] > 0)
        rows = rows[np.argsort(-counters[rows, MONTH], kind="stable")][:MAX_SNAPSHOT]
        hashes = np.fromiter(self._rows, np.uint64, len(self._rows))
        # of what was taken back, rounding may leave less than nothing
        counted = np.maximum(counters[rows], 0.0)
        return Snapshot(self.day, hashes[rows], counted.astype(np.float32))

    def versions(self) -> dict[int, int]:
        """Per partition owned a number that changes with its counters."""
        return {partition: own.changes for partition, own in self._own.items()}

    def purchases(self) -> float:
        """Purchases counted, of all partitions."""
        return float(self._sum()[:, 0].sum())

    def advance(self, now: float) -> bool:
        """Move on to the day of this Unix time.

        False where it is not later than the current one.
        """
        day = int(now // DAY)
        if day <= self.day:
            return False
        # exponential decay is the same factor for all: nobody's purchases are looked at again
        decay = _all_decays(np.array([day - self.day]))
        self.day = day
        for own in self._own.values():
            own.counters *= decay
            own.changes += 1
            for over in [since for since in own.waiting if since <= day]:
                rows, counters = own.waiting.pop(over).sums()
                self._add(own, rows, counters * _all_decays(np.array([day - over])))
        self._stale = True
        self.changes += 1
        return True

    def features(self, products: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Per product [n, 4].

        Popularity of about a week, about a month, all time, and the trend, each about 0 to 1.
        """
        return features(self.counters(products))

    def counters(self, products: NDArray[np.uint64]) -> Counters:
        """Counters [n, 8] of products by hash, as of the start of the day.

        0 for what nobody bought.
        """
        if self._placed != len(self._rows):
            self._table = HashTable.of(np.fromiter(self._rows, np.uint64, len(self._rows)))
            self._placed = len(self._rows)
        rows = self._table.rows(products)
        return np.where(rows[:, None] >= 0, np.maximum(self._sum()[rows], 0.0), 0.0)

    def _sums(self, bought: "_Bought", latest: "_Latest") -> Counters:
        """Counters of each product bought, summed over the shoppers.

        Those of the last days come from the sequences: their half-lives are too short for what
        these forgot.
        """
        counters, sums = bought.counters, np.zeros((len(bought.products), COLUMNS))
        first, last = (self.day - counters[name] / DAY for name in ("first", "last"))
        for column, values in (
            (ALL, counters["count"]),
            (WEEK, counters["decay7"] * _decays(last, WEEK)),
            (MONTH, counters["decay28"] * _decays(last, MONTH)),
            *((column, _decays(first, column)) for column in (BUYERS, FIRST_WEEK, FIRST_MONTH)),
        ):
            sums[:, column] = np.bincount(bought.product, values, len(sums))
        age = self.day - latest.events["time"] / DAY
        for column in (ONE_DAY, THREE_DAYS):
            sums[:, column] = np.bincount(latest.product, _decays(age, column), len(sums))
        return sums

    def _count(self, purchases: Sequence[Purchase], day: int) -> tuple[NDArray[np.int64], Counters]:
        """Rows [n] and counters [n, 8] of purchases as of the start of a day."""
        counters = _all_decays(day - np.array([purchase.time for purchase in purchases]) / DAY)
        counters[:, FIRSTS] *= np.array([purchase.is_first for purchase in purchases])[:, None]
        counters *= np.array([purchase.times for purchase in purchases])[:, None]
        return self._rows_of([purchase.product for purchase in purchases]), counters

    def _add(self, own: _Own, rows: NDArray[np.int64], counters: Counters) -> None:
        if len(own.counters) < len(self._total):
            own.counters = _grown(own.counters, len(self._total))
        np.add.at(own.counters, rows, counters)
        np.add.at(self._total, rows, counters)

    def _sum(self) -> Counters:
        """Counters by row of all partitions together, added up anew where they have to be."""
        # from nothing, where partitions were decayed or came and went: taking old sums away would
        # leave what rounding has made of them
        if self._stale:
            self._stale = False
            self._total[:] = 0
            for own in self._own.values():
                self._total[: len(own.counters)] += own.counters
            for foreign in self._foreign.values():
                self._add_foreign(foreign)
        return self._total

    def _add_foreign(self, foreign: _Foreign, times: float = 1.0) -> None:
        self._total[foreign.rows] += foreign.counters * (
            times * _all_decays(np.array([self.day - foreign.day]))
        )

    def _partition(self, partition: int) -> _Own:
        if partition not in self._own:
            self._own[partition] = _Own(np.zeros((len(self._total), COLUMNS)))
        return self._own[partition]

    def _rows_of(self, products: Sequence[int]) -> NDArray[np.int64]:
        """Rows of products by hash; new ones get one."""
        known = self._rows
        rows = np.array([known.setdefault(product, len(known)) for product in products], np.int64)
        while len(known) > len(self._total):
            self._total = _grown(self._total, 2 * len(self._total))
        return rows


def features(counters: Counters) -> NDArray[np.float32]:
    """Of counters [n, 8], see `Popularity.features`."""
    # A counter with half-life h stands at rate * h / ln 2: times ln 2 it is comparable with a
    # window of h days.
    week, month = counters[:, WEEK] * np.log(2), counters[:, MONTH] * np.log(2)
    trend = np.log((week + 2) / (month / 4 + 2))
    named = {
        "week": np.log1p(week) / 4,
        "month": np.log1p(month) / 4,
        "all": np.log1p(counters[:, ALL]) / 6,
        "trend": trend,
    }
    return np.stack([named[name] for name in FEATURES], axis=1).astype(np.float32)


class _Bought(NamedTuple):
    """What shoppers have bought, a row for each shopper and product."""

    products: NDArray[np.uint64]
    """Hashes of the products, ascending."""
    product: NDArray[np.int64]
    """Index into `products`."""
    shopper: NDArray[np.int64]
    """Number of the shopper."""
    counters: NDArray[Any]
    """As `COUNTERS_DTYPE`."""


class _Latest(NamedTuple):
    """Purchases that the shoppers' sequences still hold."""

    product: NDArray[np.int64]
    """Index into `_Bought.products`."""
    shopper: NDArray[np.int64]
    """Number of the shopper."""
    events: NDArray[Any]
    """As `SEQUENCE_DTYPE`."""


def _bought(states: Sequence[UserState]) -> _Bought:
    keys = np.frombuffer(b"".join(state.keys for state in states), "<u8")
    products, product = np.unique(keys, return_inverse=True)
    shopper = np.repeat(np.arange(len(states)), [len(state.keys) // KEY.size for state in states])
    return _Bought(products, product, shopper, counters_of(states))


def _latest(states: Sequence[UserState], bought: _Bought) -> _Latest:
    """The purchases in the sequences, without those of products whose counters were evicted."""
    shopper = np.repeat(
        np.arange(len(states)), [len(state.sequence) // INTERACTION.size for state in states]
    )
    events = np.frombuffer(b"".join(state.sequence for state in states), SEQUENCE_DTYPE)
    products = bought.products
    product = np.minimum(np.searchsorted(products, events["product"]), len(products) - 1)
    held = (events["kind"] == Kind.PURCHASE) & (products[product] == events["product"])
    # the others evicted nothing
    full = np.array([len(state.keys) >= MAX_PRODUCTS * KEY.size for state in states])
    if full.any():
        asked, known = (
            (len(products) * of + at)[full[of]]
            for of, at in ((shopper, product), (bought.shopper, bought.product))
        )
        held[full[shopper]] &= np.isin(asked, known)
    return _Latest(product[held], shopper[held], events[held])


def _since(states: Sequence[UserState], latest: _Latest, time: float) -> list[Purchase]:
    """Purchases from a Unix time on that the shoppers' sequences hold."""
    is_recent = latest.events["time"] >= time
    recent = latest.events[is_recent]
    shoppers, starts = np.unique(latest.shopper[is_recent], return_index=True)
    purchases: list[Purchase] = []
    # in their order
    for number, start, stop in zip(shoppers.tolist(), starts, [*starts[1:], None], strict=False):
        events = recent[start:stop]
        state = states[number]
        first = dict(
            zip(
                state.product_keys().tolist(),
                state.product_counters()["first"].tolist(),
                strict=True,
            )
        )
        for product, at in zip(events["product"].tolist(), events["time"].tolist(), strict=True):
            is_first = first.get(product) == at
            if is_first:
                del first[product]
            purchases.append(Purchase(product, at, is_first))
    return purchases


def _decays(days: NDArray[Any], column: int) -> NDArray[np.float64]:
    """What is left in a column after so many days."""
    # at most tomorrow: a time from a damaged state, decayed backwards over years, would be infinite
    # for everybody
    weights: NDArray[np.float64] = np.exp2(np.maximum(days, -1.0) / -HALF_LIVES[column])
    return weights


def _all_decays(days: NDArray[Any]) -> Counters:
    """What is left after so many days [n], per column [n, 8]."""
    weights: Counters = np.exp2(np.maximum(days, -1.0)[:, None] / -np.array(HALF_LIVES))
    return weights


def _grown(counters: Counters, rows: int) -> Counters:
    return np.concatenate([counters, np.zeros((rows - len(counters), COLUMNS))])


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot's bytes, little endian.

    Version, day, n | n product hashes (u64) | n x 8 counters (f4).
    """
    header = _HEADER.pack(SNAPSHOT_VERSION, snapshot.day, len(snapshot.products))
    return (
        header
        + snapshot.products.astype("<u8").tobytes()
        + snapshot.counters.astype("<f4").tobytes()
    )


def decode_snapshot(value: bytes, newest_day: int) -> Snapshot:
    """Read a snapshot's bytes.

    Raises:
        ValueError: they are none, or of a later day: it would move everybody's popularity there.
    """
    if len(value) < _HEADER.size or value[0] != SNAPSHOT_VERSION:
        raise ValueError(
            f"not a version {SNAPSHOT_VERSION} popularity snapshot ({len(value)} bytes)"
        )
    _, day, n = _HEADER.unpack_from(value)
    if (
        n > MAX_SNAPSHOT
        or len(value) != _HEADER.size + n * (8 + 4 * COLUMNS)
        or not 0 <= day <= newest_day
    ):
        raise ValueError(
            f"a popularity snapshot of {n} products and day {day} in {len(value)} bytes"
        )
    products = np.frombuffer(value, "<u8", n, _HEADER.size)
    counters = np.frombuffer(value, "<f4", n * COLUMNS, _HEADER.size + 8 * n).reshape(n, COLUMNS)
    if not (np.isfinite(counters).all() and (counters >= 0).all()):
        raise ValueError("a popularity snapshot with counters that are no counts")
    return Snapshot(day, products, counters)
