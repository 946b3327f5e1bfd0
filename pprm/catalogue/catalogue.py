"""The products known, as arrays: one row per product.

A row never moves. One that nothing refers to any more goes to another product: listings may come
and go for ever.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pprm.catalogue.codes import CATEGORY_CODE, MAKER_CODE, TYPE_CODE, Codes
from pprm.catalogue.markup import plain
from pprm.catalogue.promotions import Promoted, Promotions
from pprm.core.events import Event, Interaction, Kind
from pprm.core.hash_table import HashTable
from pprm.core.ids import stable_hash


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
    """Split a category path, broadest first, into type and category.

    A product without one has the type of its title.
    """
    path = list(map(plain, categories or [title]))
    return path[-1], path[-2] if len(path) > 1 else path[-1]


KEPT_WITHDRAWN = 1024
"""Withdrawn products that keep their rows though nobody bought them: they may come back."""


class Catalogue:
    """Products in rows. `version` changes with each mutation. Not thread-safe: one thread owns it.

    `is_needed` says of the hash of a product that was withdrawn whether its row must stay, for the
    histories that hold it: type, category and maker of what was bought are part of the features. By
    default all stay.
    """

    def __init__(
        self, dimensions: int, is_needed: Callable[[int], bool] = lambda product: True
    ) -> None:
        self.version = 0
        self._is_needed = is_needed
        self.ids: list[str] = []
        self.types, self.categories, self.makers = Codes(), Codes(), Codes()
        self.promotions = Promotions()
        self._rows: dict[int, int] = {}
        self._withdrawn: dict[int, None] = {}
        """Rows that may go to others, the one withdrawn first before the others."""
        self._hashes = np.zeros(0, np.uint64)
        self._placed, self._table = 0, HashTable.of(self._hashes)
        """Rows in the table, and it; -1 where a row was given to another product since."""
        self._codes = np.zeros((0, 3), np.int32)
        self._vectors = np.zeros((0, dimensions), np.float32)
        self._available = np.zeros(0, bool)
        self._changed_at = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> int:
        """Products that have a row."""
        return len(self._rows)

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
        return self._codes[: len(self), TYPE_CODE]

    @property
    def category(self) -> NDArray[np.int32]:
        """Code of each product's category, [n]."""
        return self._codes[: len(self), CATEGORY_CODE]

    @property
    def maker(self) -> NDArray[np.int32]:
        """Code of each product's maker, [n]."""
        return self._codes[: len(self), MAKER_CODE]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Return what the model reads of each product.

        That is its own vector, or the vector of its text, [n, dimensions].
        """
        return self._vectors[: len(self)]

    @property
    def available(self) -> NDArray[np.bool_]:
        """Which products may be recommended, [n]."""
        return self._available[: len(self)]

    def with_vectors(self, vectors: NDArray[np.float32]) -> "Catalogue":
        """Return the same products, read by another encoder.

        `vectors` are [n, any dimensions]. Later changes are shared.
        """
        other = copy(self)
        other._vectors = vectors
        return other

    def only(self, available: NDArray[np.bool_]) -> "Catalogue":
        """Return the same products, of which only `available` [n] may be recommended.

        Later changes are shared.
        """
        other = copy(self)
        other._available = available
        return other

    def promoted(self, now: float) -> Promoted:
        """What is promoted on the day of this Unix time."""
        return self.promotions.at(now, len(self))

    def with_promotions(self, events: Iterable[Event]) -> Iterator[Event]:
        """Give purchases the promotion that their product had that day, if any.

        Other events are left as they are.
        """
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
        """Add products or replace what is known of them; `vectors` [len(products), dimensions].

        The version changes only where a product is new or changed: most records of a product give a
        new price.
        """
        self._reserve(len(self) + len(products))
        changed = False
        for product, vector in zip(products, vectors, strict=True):
            row = self._row(product.product_id)
            codes = self._take_codes(product)
            if self._changed_at[row]:
                self._drop_codes(row)
            self.promotions.put(row, product.promotions)
            if self._changed_at[row] and self._is(row, codes, product.available, vector):
                continue
            changed = True
            self._codes[row], self._vectors[row], self._available[row] = (
                codes,
                vector,
                product.available,
            )
            self._changed_at[row] = self.version + 1
        self.version += changed

    def withdraw(self, product_ids: Iterable[str]) -> None:
        """Never recommend these again.

        Their rows stay as long as they are needed. Those of the newest `KEPT_WITHDRAWN` stay in any
        case.
        """
        for product_id in product_ids:
            row = self._rows.get(stable_hash(product_id))
            if row is not None:
                self._available[row] = False
                self._withdrawn[row] = None
                self.promotions.put(row, ())
        self.version += 1

    def rows(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of products given by hash, -1 where unknown."""
        if self._placed != len(self):
            self._table = HashTable.of(self.hashes)
            self._placed = len(self)
        return self._table.rows(hashes)

    def _is(
        self, row: int, codes: tuple[int, int, int], available: bool, vector: NDArray[np.float32]
    ) -> bool:
        same_codes = (self._codes[row] == codes).all()
        return bool(
            same_codes
            and self._available[row] == available
            and np.array_equal(self._vectors[row], vector)
        )

    def _row(self, product_id: str) -> int:
        key = stable_hash(product_id)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._place(product_id)
            self._hashes[row] = key
        self._withdrawn.pop(row, None)
        return row

    def _place(self, product_id: str) -> int:
        row = self._vacated()
        if row is None:
            self.ids.append(product_id)
            return len(self.ids) - 1
        self.ids[row] = product_id
        self._changed_at[row], self._placed = 0, -1
        return row

    def _vacated(self) -> int | None:
        """Return a row that nothing refers to any more, or None."""
        while len(self._withdrawn) > KEPT_WITHDRAWN:
            row = next(iter(self._withdrawn))
            del self._withdrawn[row]
            if not self._is_needed(int(self._hashes[row])):
                self._drop_codes(row)
                del self._rows[int(self._hashes[row])]
                return row
        return None

    def _take_codes(self, product: Product) -> tuple[int, int, int]:
        return (
            self.types.take(product.type),
            self.categories.take(product.category),
            self.makers.take(product.maker),
        )

    def _drop_codes(self, row: int) -> None:
        for names, code in zip(
            (self.types, self.categories, self.makers), self._codes[row].tolist(), strict=True
        ):
            names.drop(code)

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._hashes):
            return
        room = max(rows, 2 * len(self._hashes), 1024)
        for name in ("_hashes", "_codes", "_vectors", "_available", "_changed_at"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
