"""The products known, as arrays: one row per product, rows never move and are never given to another product."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pprm.compiled import compiled
from pprm.events import Event, Interaction, Kind
from pprm.ids import stable_hash
from pprm.promotions import Promoted, Promotions


@dataclass(frozen=True, slots=True)
class Product:
    """What the model knows of a product."""

    product_id: str
    text: str
    """What the encoder reads."""
    type: str
    """Finest group, e.g. `WHITE BREAD`."""
    category: str
    """Coarser group, e.g. `BAKED BREAD/BUNS/ROLLS`."""
    maker: str
    available: bool = True
    """Whether it may be recommended; a product that may not still counts in histories."""
    promotions: tuple[tuple[int, int, int, int], ...] = ()
    """(starts, until, store, code) each: `promotions.ENTRY`."""
    vector: NDArray[np.float32] | None = field(default=None, compare=False)
    """Made elsewhere, of the catalogue's dimensions; None: it is the text's."""


def groups(categories: Sequence[str], title: str) -> tuple[str, str]:
    """Type and category from a category path, broadest first; a product without one is of the type of its title."""
    path = categories or [title]
    return path[-1], path[-2] if len(path) > 1 else path[-1]


class Codes:
    """Consecutive numbers for names, in order of appearance."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def of(self, name: str) -> int:
        """Number of a name, a new one where it has none."""
        return self._codes.setdefault(name, len(self._codes))


class Catalogue:
    """Products in rows. `version` changes with each mutation. Not thread-safe: one thread owns it."""

    def __init__(self, dimensions: int) -> None:
        self.version = 0
        self.ids: list[str] = []
        self.types, self.categories, self.makers = Codes(), Codes(), Codes()
        self.promotions = Promotions()
        self._rows: dict[int, int] = {}
        self._hashes = np.zeros(0, np.uint64)
        self._placed, self._table = 0, _hash_table(self._hashes)
        """Rows in the hash table, and it; rows are only ever added, so their number tells whether it is up to date."""
        self._codes = np.zeros((0, 3), np.int32)
        self._vectors = np.zeros((0, dimensions), np.float32)
        self._available = np.zeros(0, bool)
        self._changed_at = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimensions(self) -> int:
        """Of the products' vectors."""
        return self._vectors.shape[1]

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """`stable_hash` of each product id, [n]."""
        return self._hashes[: len(self)]

    @property
    def codes(self) -> NDArray[np.int32]:
        """Codes of each product's type, category and maker, [n, 3]."""
        return self._codes[: len(self)]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many types, categories and makers there are, [3]."""
        return np.array([len(self.types), len(self.categories), len(self.makers)])

    @property
    def type(self) -> NDArray[np.int32]:
        """Code of each product's type, [n]; likewise `category` and `maker`."""
        return self._codes[: len(self), 0]

    @property
    def category(self) -> NDArray[np.int32]:
        """Code of each product's category, [n]."""
        return self._codes[: len(self), 1]

    @property
    def maker(self) -> NDArray[np.int32]:
        """Code of each product's maker, [n]."""
        return self._codes[: len(self), 2]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """What the model reads of each product: the vector of its text, or its own, [n, dimensions]."""
        return self._vectors[: len(self)]

    @property
    def available(self) -> NDArray[np.bool_]:
        """Which products may be recommended, [n]."""
        return self._available[: len(self)]

    def with_vectors(self, vectors: NDArray[np.float32]) -> "Catalogue":
        """The same products, read by another encoder: `vectors` [n, any dimensions]. What changes later is shared."""
        other = copy(self)
        other._vectors = vectors
        return other

    def only(self, available: NDArray[np.bool_]) -> "Catalogue":
        """The same products, of which these may be recommended, [n]. What changes later is shared."""
        other = copy(self)
        other._available = available
        return other

    def promoted(self, now: float) -> Promoted:
        """What is promoted on the day of this Unix time."""
        return self.promotions.at(now, len(self))

    def with_promotions(self, events: Iterable[Event]) -> Iterator[Event]:
        """Purchases with the promotion that their product had, if any was on that day; other events as they are."""
        for event in events:
            if isinstance(event, Interaction) and event.kind is Kind.PURCHASE and self.promotions:
                row = self._rows.get(event.product)
                if row is not None:
                    event = replace(event, promotion=self.promotions.share(row, event.time))
            yield event

    def changed_since(self, version: int) -> NDArray[np.int64]:
        """Rows that were put after a version of the catalogue."""
        return np.flatnonzero(self._changed_at[: len(self)] > version)

    def put(self, products: Sequence[Product], vectors: NDArray[np.float32]) -> None:
        """Add products or replace what is known of them; `vectors` [len(products), dimensions]."""
        self.version += 1
        self._reserve(len(self) + len(products))
        for product, vector in zip(products, vectors, strict=True):
            row = self._row(product.product_id)
            self._codes[row] = (
                self.types.of(product.type),
                self.categories.of(product.category),
                self.makers.of(product.maker),
            )
            self._vectors[row] = vector
            self._available[row] = product.available
            self.promotions.put(row, product.promotions)
            self._changed_at[row] = self.version

    def withdraw(self, product_ids: Iterable[str]) -> None:
        """Never recommend these again; their rows stay for the histories that hold them."""
        for product_id in product_ids:
            row = self._rows.get(stable_hash(product_id))
            if row is not None:
                self._available[row] = False
        self.version += 1

    def rows(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of products given by hash, -1 where unknown."""
        if self._placed != len(self):
            self._table = _hash_table(self.hashes)
            self._placed = len(self)
        rows: NDArray[np.int64] = _look_up(self._table[0], self._table[1], hashes)
        return rows

    def _row(self, product_id: str) -> int:
        key = stable_hash(product_id)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self.ids)
            self.ids.append(product_id)
            self._hashes[row] = key
        return row

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._hashes):
            return
        room = max(rows, 2 * len(self._hashes), 1024)
        for name in ("_hashes", "_codes", "_vectors", "_available", "_changed_at"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


@compiled
def _hash_table(hashes: NDArray[np.uint64]) -> Any:
    """Hashes and rows in open addressing, with linear probing, half full at most; -1 is an empty place."""
    size = 16
    while size < 2 * len(hashes):
        size *= 2
    keys, rows = np.zeros(size, np.uint64), np.full(size, -1, np.int64)
    for row in range(len(hashes)):
        at = hashes[row] & np.uint64(size - 1)
        while rows[at] >= 0:
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        keys[at], rows[at] = hashes[row], row
    return keys, rows


@compiled
def _look_up(keys: NDArray[np.uint64], rows: NDArray[np.int64], hashes: NDArray[np.uint64]) -> Any:
    """Row of each hash, -1 where there is none."""
    found, last = np.empty(len(hashes), np.int64), np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & last
        while rows[at] >= 0 and keys[at] != hashes[i]:
            at = (at + np.uint64(1)) & last
        found[i] = rows[at]
    return found
