"""What is learned over all shoppers and changes slowly: hazards and factors, by the hash of a product or a type.

Made from purchases, part of the artifact, and laid out over a catalogue when that changes. A product or type that was
not there when they were made has the hazard of its type, or of all, and no factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm import factors, hazard, item_regression
from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.compiled import compiled
from pprm.factors import Factors
from pprm.features import Groups
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
    regressions: list = field(default_factory=list)
    _regressions: list = field(default_factory=lambda: [None, None])
    _regression_rows: Any = None
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

    def fill_hazards(self, groups: Groups, catalogue: Catalogue, rows: NDArray[np.int64], out: Floats) -> None:
        """Fill `out` [n, 2], which is 0, with log hazards of products and their types, where the shopper had them."""
        ages = np.concatenate([[0.0], groups.ages])
        _fill_hazards(*self._hazards, groups, catalogue.codes, rows, ages, hazard.bucket(ages), out)

    def affinity(self, groups: Groups, rows: NDArray[np.int64]) -> Floats:
        """Dot products of the factors of a shopper and of `rows`, [len(rows)]."""
        product, bought = self._factors.product, groups.rows
        out = np.zeros((len(rows), 2), np.float32)
        known = product[bought, 0] != 0
        if known.any():
            counts = groups.decays[1:, 2][known]
            out[:, 0] = product[rows] @ self._factors.fold_in(bought[known], counts)
            out[:, 1] = product[rows] @ self._factors.fold_in_linear(bought[known], counts)
        return out

    def neighbours(self, groups: Groups, rows: NDArray[np.int64]) -> Floats:
        """Scores of the item regression, [len(rows)]."""
        much = np.minimum(groups.decays[:, 2], 1).astype(np.float32)
        ever = np.minimum(groups.product_count, 1)
        at = self._regression_rows[rows]
        if not self.regressions: return np.zeros((len(rows),2),np.float32)
        return np.stack([item_regression.scores(self._regressions[0], at, groups.product_at, much), item_regression.scores(self._regressions[1], at, groups.product_at, ever)], 1)

    def lay_out(self, catalogue: Catalogue) -> None:
        if self._version == catalogue.version:
            return
        self._version = catalogue.version
        at = _find(self.products, catalogue.hashes)
        by_type = _find(self.types, np.array([stable_hash(name) for name in catalogue.types], np.uint64))
        self._hazards = (
            _take(self.product_hazards, at, self.hazards[0]), _take(self.type_hazards, by_type, self.hazards[1])
        )  # fmt: skip
        known = catalogue.rows(self.products)
        for n, regression in enumerate(self.regressions):
            sources = known[regression.sources]
            self._regressions[n] = item_regression.Regression(np.maximum(sources, 0).astype(np.int32), np.where(sources < 0, 0, regression.weights))
        self._regression_rows = at
        self._factors = Factors(_take(self.factors, at, np.zeros(self.factors.shape[1], np.float32)))


def _renumber(kept, n):
    out = np.zeros(n, np.int32)
    out[kept] = np.arange(len(kept))
    return out


@compiled
def _fill_hazards(
    product: Floats, type_: Floats, g: Groups, codes: NDArray[np.int32], rows: NDArray[np.int64],
    ages: NDArray[np.float64], buckets: NDArray[np.int64], out: Floats,
) -> None:  # fmt: skip
    newest = np.zeros(len(g.type), np.int64)
    for i in range(1, len(ages)):
        of = g.type_at[codes[g.rows[i - 1], 0]]
        if newest[of] == 0 or ages[i] < ages[newest[of]]:
            newest[of] = i
    for k in range(len(rows)):
        item, of = g.product_at[rows[k]], g.type_at[codes[rows[k], 0]]
        if item > 0:
            out[k, 0] = product[rows[k], buckets[item]]
        if of > 0:
            out[k, 1] = type_[codes[rows[k], 0], buckets[newest[of]]]


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
    days = (until - time[wanted]) / DAY
    found = [item_regression.fit(user[wanted], product[wanted], d, len(catalogue)) for d in (days, days * 0)]
    kept = np.flatnonzero(catalogue.available)
    kept = kept[np.argsort(catalogue.hashes[kept])]
    types = np.array([stable_hash(name) for name in catalogue.types], np.uint64)
    by_hash = np.argsort(types)
    return SlowTables(
        catalogue.hashes[kept], types[by_hash], hazards.product[kept], hazards.type[by_hash], hazards.all,
        learned.product[kept], [item_regression.Regression(np.argsort(np.argsort(1-0*kept))[:0] if 0 else _renumber(kept, len(catalogue))[r.sources[kept]], r.weights[kept]) for r in found],
    )  # fmt: skip
