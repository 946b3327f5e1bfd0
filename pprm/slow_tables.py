"""What is learned over all shoppers and changes slowly: hazards and factors, by the hash of a product or a type.

Made from purchases, part of the artifact, and laid out over a catalogue when that changes. A product or type that was
not there when they were made has the hazard of its type, or of all, and no factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm import factors, hazard
from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.factors import Factors
from pprm.hazard import BUCKETS
from pprm.ids import stable_hash
from pprm.user_state import DAY

Floats = NDArray[np.float32]


_STORED = {
    "products": np.uint64, "types": np.uint64, "product_hazards": np.float32, "type_hazards": np.float32,
    "hazards": np.float32, "factors": np.float32,
}  # fmt: skip


@dataclass(slots=True)
class SlowTables:
    """Tables by hash, [p] products and [t] types."""

    products: NDArray[np.uint64]
    types: NDArray[np.uint64]
    product_hazards: Floats
    """[p, BUCKETS]"""
    type_hazards: Floats
    """[t, BUCKETS]; of all purchases of the type."""
    hazards: Floats
    """Of products and of types that are not known, [2, BUCKETS]."""
    factors: Floats
    """[p, FACTORS]"""
    _version: int = -1
    _hazards: tuple[Floats, Floats] = field(default=(np.zeros((0, BUCKETS), np.float32),) * 2)
    _factors: Factors = field(default_factory=lambda: Factors(np.zeros((0, factors.FACTORS), np.float32)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """For a file; what is not a hash in half precision."""
        stored = {name: getattr(self, name) for name in _STORED}
        return {name: a.astype(np.float16) if _STORED[name] is np.float32 else a for name, a in stored.items()}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[Any]]) -> "SlowTables":
        """The inverse of `to_arrays`.

        Raises:
            KeyError: one is missing.
        """
        products, types, *tables = (stored[name].astype(_STORED[name]) for name in _STORED)
        return cls(products, types, tables[0], tables[1], tables[2], tables[3])

    def product_hazard(self, catalogue: Catalogue, rows: NDArray[np.int64], buckets: NDArray[np.int64]) -> Floats:
        """Log hazard of products of a catalogue in buckets of the gap, [n]."""
        self._lay_out(catalogue)
        return self._hazards[0][rows, buckets]

    def type_hazard(self, catalogue: Catalogue, types: NDArray[np.int32], buckets: NDArray[np.int64]) -> Floats:
        """Log hazard of types of a catalogue, by their codes, [n]."""
        self._lay_out(catalogue)
        return self._hazards[1][types, buckets]

    def affinity(
        self, catalogue: Catalogue, bought: NDArray[np.int64], counts: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> Floats:
        """Dot products of the factors of a shopper, who bought these so often, and of `rows`, [len(rows)]."""
        self._lay_out(catalogue)
        product = self._factors.product
        known = product[bought, 0] != 0
        if not known.any():
            return np.zeros(len(rows), np.float32)
        return product[rows] @ self._factors.fold_in(bought[known], counts[known])

    def _lay_out(self, catalogue: Catalogue) -> None:
        if self._version == catalogue.version:
            return
        self._version = catalogue.version
        at = _find(self.products, catalogue.hashes)
        by_type = _find(self.types, np.array([stable_hash(name) for name in catalogue.types], np.uint64))
        self._hazards = (
            _take(self.product_hazards, at, self.hazards[0]), _take(self.type_hazards, by_type, self.hazards[1])
        )  # fmt: skip
        self._factors = Factors(_take(self.factors, at, np.zeros(self.factors.shape[1], np.float32)))


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Index of each wanted key, -1 where there is none; `keys` are in order."""
    if not len(keys):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _take(table: Floats, at: NDArray[np.int64], otherwise: Floats) -> Floats:
    """Rows of a table, `otherwise` where the index is -1."""
    return np.concatenate([table, otherwise[None]])[at]  # -1 is the last


def nothing() -> SlowTables:
    """Tables of a shop of which nothing is known."""
    none, unknown = np.zeros(0, np.uint64), np.full((2, BUCKETS), np.log(0.05), np.float32)
    return SlowTables(none, none, unknown[:0], unknown[:0], unknown, np.zeros((0, factors.FACTORS), np.float32))


def learn(dataset: Dataset, catalogue: Catalogue, until: int) -> SlowTables:
    """Tables from the purchases before a Unix time; `catalogue` has the dataset's products in its rows.

    Of products that may be recommended: nobody asks for another's.
    """
    bought = dataset.purchases() & (dataset.time < until)
    user, product, time = dataset.user[bought], dataset.product[bought], dataset.time[bought]
    hazards = hazard.fit(user, product, time, catalogue.type, len(catalogue.types))
    wanted = catalogue.available[product]
    learned = factors.fit(user[wanted], product[wanted], (until - time[wanted]) / DAY, len(catalogue))
    kept = np.flatnonzero(catalogue.available)
    kept = kept[np.argsort(catalogue.hashes[kept])]
    types = np.array([stable_hash(name) for name in catalogue.types], np.uint64)
    by_hash = np.argsort(types)
    return SlowTables(
        catalogue.hashes[kept], types[by_hash], hazards.product[kept], hazards.type[by_hash], hazards.all,
        learned.product[kept],
    )  # fmt: skip
