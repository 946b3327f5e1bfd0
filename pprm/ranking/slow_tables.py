"""Tables over all shoppers that change slowly, by the hash of a product or a type.

Hazards, factors, and the item regression: made from purchases, part of the artifact, and laid out
over a catalogue when that changes. A product or type that was not there when they were made has the
hazard of its type, or of all, no factors, and no weights of the item regression.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.codes import TYPE_CODE
from pprm.core.arrays import Floats
from pprm.core.compiled import compiled
from pprm.core.feature_groups import FeatureGroup
from pprm.core.ids import stable_hash
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.ranking import factors, hazard, item_regression
from pprm.ranking.factors import Factors
from pprm.ranking.hazard import BUCKETS
from pprm.ranking.item_regression import SOURCES, Regression
from pprm.retrieval.features import BY_112, Groups
from pprm.state.user_state import DAY

HAZARD = FeatureGroup("hazard", ("hazard", "type_hazard"))
_HAZARD, _TYPE_HAZARD = HAZARD.at("hazard", "type_hazard")
_STORED = {
    "products": np.uint64, "types": np.uint64, "product_hazards": np.float32,
    "type_hazards": np.float32,
    "hazards": np.float32, "factors": np.float32, "sources": np.int32, "weights": np.float32,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
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
    sources: NDArray[np.int32]
    """Of each product, those of `products` that speak for it most, [p, SOURCES],"""
    weights: Floats
    """and how much."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays for a file.

        What is kept per product is in half precision, but for integers.
        """
        stored = {name: getattr(self, name) for name in _STORED}
        return {
            name: a.astype(np.float16) if _STORED[name] is np.float32 else a
            for name, a in stored.items()
        }

    def nbytes(self) -> int:
        """Bytes in memory."""
        return nbytes(*(getattr(self, name) for name in _STORED))

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[Any]]) -> "SlowTables":
        """Make tables of arrays, the inverse of `to_arrays`.

        Raises:
            KeyError: one is missing.
        """
        return cls(**{name: stored[name].astype(dtype) for name, dtype in _STORED.items()})

    def over(self, catalogue: Catalogue) -> "LaidOut":
        """The tables by the rows and type codes of a catalogue, as it is now."""
        at = _find(self.products, catalogue.hashes)
        by_type = _find(
            self.types, np.array([stable_hash(name) for name in catalogue.types], np.uint64)
        )
        sources = catalogue.rows(self.products)[self.sources]
        factors = np.zeros((len(self.products) + 1, self.factors.shape[1]), np.float32)
        factors[at[at >= 0]] = self.factors[at[at >= 0]]
        return LaidOut(
            catalogue.codes.copy(),
            at,
            np.concatenate([self.product_hazards, self.hazards[:1]]),
            np.concatenate([self.type_hazards, self.hazards[1:]])[by_type],
            Factors(factors),
            Regression(
                np.maximum(sources, 0).astype(np.int32), np.where(sources < 0, 0, self.weights)
            ),
        )


@dataclass(frozen=True, slots=True)
class LaidOut:
    """Tables over a catalogue; p products are in both."""

    codes: NDArray[np.int32]
    """Of the catalogue."""
    at: NDArray[np.int64]
    """Row of each catalogue row in the tables by product.

    -1, their last row, where it is unknown.
    """
    product_hazards: Floats
    """[p + 1, BUCKETS]"""
    type_hazards: Floats
    """By type code, [types, BUCKETS]."""
    factors: Factors
    """[p + 1, FACTORS]"""
    regression: Regression
    """[p]; -1 is none."""

    def hazard(self, groups: Groups, rows: NDArray[np.int64]) -> Floats:
        """Log hazards of candidate rows and of their types, as `HAZARD`.

        They are 0 where the shopper never had the product or type.
        """
        out = np.zeros((len(rows), len(HAZARD)), np.float32)
        buckets = hazard.bucket(groups.ages)
        _fill_hazards(
            self.product_hazards, self.type_hazards, groups, self.codes, rows, self.at, buckets, out
        )
        return out

    def affinity(self, groups: Groups, rows: NDArray[np.int64]) -> Floats:
        """Dot products of the factors of a shopper and of candidate rows, [len(rows)]."""
        bought = self.at[groups.rows]
        known = self.factors.product[bought, 0] != 0
        if not known.any():
            return np.zeros(len(rows), np.float32)
        shopper = self.factors.fold_in(bought[known], groups.decays[1:, BY_112][known])
        return self.factors.product[self.at[rows]] @ shopper

    def neighbours(self, groups: Groups, rows: NDArray[np.int64]) -> Floats:
        """What the shopper's other purchases say of candidate rows, [len(rows)]."""
        return item_regression.scores(self.regression, self.at[rows], groups.product_at)


@compiled
def _fill_hazards(
    product: Floats, type_: Floats, groups: Groups, codes: NDArray[np.int32],
    rows: NDArray[np.int64],
    at: NDArray[np.int64], buckets: NDArray[np.int64], out: Floats,
) -> None:  # fmt: skip
    """`at` are the rows of `product` by catalogue row; `buckets` those of the products bought."""
    newest = np.full(len(groups.type), -1)
    for i in range(len(buckets)):
        of = groups.type_at[codes[groups.rows[i], TYPE_CODE]]
        if newest[of] < 0 or groups.ages[i] < groups.ages[newest[of]]:
            newest[of] = i
    for k in range(len(rows)):
        item, of = groups.product_at[rows[k]], groups.type_at[codes[rows[k], TYPE_CODE]]
        if item > 0:
            out[k, _HAZARD] = product[at[rows[k]], buckets[item - 1]]
        if of > 0:
            out[k, _TYPE_HAZARD] = type_[codes[rows[k], TYPE_CODE], buckets[newest[of]]]


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Index of each wanted key, -1 where there is none; `keys` are in order."""
    if not len(keys):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def nothing() -> SlowTables:
    """Tables of a shop of which nothing is known."""
    none, unknown = np.zeros(0, np.uint64), np.full((2, BUCKETS), np.log(0.05), np.float32)
    no_sources = np.zeros((0, SOURCES), np.float32)
    return SlowTables(
        none, none, unknown[:0], unknown[:0], unknown, np.zeros((0, factors.FACTORS), np.float32),
        no_sources.astype(np.int32), no_sources,
    )  # fmt: skip


def learn(dataset: Dataset, catalogue: Catalogue, until: int) -> SlowTables:
    """Make tables from the purchases before a Unix time.

    `catalogue` has the dataset's products in its rows.

    Only products that may be recommended are in them.
    """
    bought = dataset.purchases() & (dataset.time < until)
    user, product, time = dataset.user[bought], dataset.product[bought], dataset.time[bought]
    hazards = hazard.fit(user, product, time, catalogue.type, len(catalogue.types))
    wanted = catalogue.available[product]
    user, product, days = user[wanted], product[wanted], (until - time[wanted]) / DAY
    learned = factors.fit(user, product, days, len(catalogue))
    regression = item_regression.fit(user, product, len(catalogue))
    kept = np.flatnonzero(catalogue.available)
    kept = kept[np.argsort(catalogue.hashes[kept])]
    place = np.zeros(len(catalogue), np.int32)
    place[kept] = np.arange(len(kept))
    types = np.array([stable_hash(name) for name in catalogue.types], np.uint64)
    by_hash = np.argsort(types)
    return SlowTables(
        catalogue.hashes[kept], types[by_hash], hazards.product[kept], hazards.type[by_hash],
        hazards.all,
        learned.product[kept], place[regression.sources[kept]], regression.weights[kept],
    )  # fmt: skip
