"""Item-item regression: what a shopper buys, from everything else that they buy.

Steck, "Embarrassingly shallow autoencoders for sparse data" (EASE, 2019), in its dual form, which
inverts a matrix of shoppers: P = (X'X + l)^-1 = (1 - X'(XX' + l)^-1 X) / l, and the weight of
product i for product j is -P_ij / P_jj. Of each product's weights only the strongest are kept, so
that a live shopper's score is a short sum over the state.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled

SOURCES = 100
"""Weights kept of a product."""
REGULARISATION = 150.0
MOST_SHOPPERS, MOST_PRODUCTS = 5_000, 20_000
"""At most so many, those with most purchases: memory and time grow with products of both."""


class Regression(NamedTuple):
    """Of each product, what speaks for it."""

    sources: NDArray[np.int32]
    """Products, [products, SOURCES]."""
    weights: Floats
    """[products, SOURCES]; 0 where there is no source."""


def fit(user: NDArray[np.int32], product: NDArray[np.int32], products: int) -> Regression:
    """Learn from purchases [events]: who ever bought what."""
    from scipy.linalg import cho_factor, cho_solve

    sources = np.zeros((products, SOURCES), np.int32)
    weights = np.zeros((products, SOURCES), np.float32)
    shoppers, kept = _most(user, MOST_SHOPPERS), _most(product, MOST_PRODUCTS)
    if len(kept) <= SOURCES:
        return Regression(sources, weights)
    x = _matrix(user, product, shoppers, kept)
    system = cho_factor(x @ x.T + REGULARISATION * np.eye(len(x), dtype=np.float32))
    solved = cho_solve(system, x)
    scale = 1 - np.einsum("un,un->n", x, solved)  # P_jj l
    for start in range(0, len(kept), 1000):
        columns = np.arange(start, min(start + 1000, len(kept)))
        b = (x.T @ solved[:, columns]) / scale[columns]
        b[columns, np.arange(len(columns))] = 0
        best = np.argpartition(-np.abs(b), SOURCES - 1, axis=0)[:SOURCES]
        sources[kept[columns]] = kept[best].T
        weights[kept[columns]] = np.take_along_axis(b, best, axis=0).T
    return Regression(sources, weights)


def _most(codes: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    counts = np.bincount(codes)
    return np.sort(np.argsort(-counts, kind="stable")[: min(most, np.count_nonzero(counts))])


def _matrix(
    user: NDArray[np.int32],
    product: NDArray[np.int32],
    shoppers: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> Floats:
    """1 where a shopper bought a product, [shoppers, products]."""
    row = np.minimum(np.searchsorted(shoppers, user), len(shoppers) - 1)
    column = np.minimum(np.searchsorted(kept, product), len(kept) - 1)
    inside = (shoppers[row] == user) & (kept[column] == product)
    x = np.zeros((len(shoppers), len(kept)), np.float32)
    x[row[inside], column[inside]] = 1
    return x


def scores(regression: Regression, at: NDArray[np.int64], product_at: NDArray[np.int32]) -> Floats:
    """Score products for a shopper, [n].

    Args:
        regression: its sources are catalogue rows.
        at: rows of its tables, -1 where a product is unknown, [n].
        product_at: of each row of the catalogue, 0 where the shopper does not have it.
    """
    out = np.zeros(len(at), np.float32)
    _add_up(regression.sources, regression.weights, at, product_at, out)
    return out


@compiled
def _add_up(
    sources: NDArray[np.int32],
    weights: Floats,
    at: NDArray[np.int64],
    product_at: NDArray[np.int32],
    out: Floats,
) -> None:
    for k in range(len(at)):
        if at[k] >= 0:
            total = np.float32(0)
            # weights are loaded in any case: a wrong guess would cost more
            for place in range(sources.shape[1]):
                weight = weights[at[k], place]
                total += weight if product_at[sources[at[k], place]] > 0 else np.float32(0)
            out[k] = total
