"""What retrieval hands to ranking.

These are the best of what was bought, of what is new, of what was looked at.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part
from pprm.core.order import descending
from pprm.retrieval.features import Groups

SEEN, NEW, LOOKED = 130, 200, 50
"""Candidates: products bought before, others, and the newest looks."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of one shopper and what retrieval says of them; K of them."""

    rows: NDArray[np.int64]
    """Catalogue rows, [K]."""
    logits: Floats
    """Of retrieval, [K]."""
    groups: Groups
    """The shopper's cross features (`features.groups`)."""


def choose(
    logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Columns of the candidates among N products.

    `logits` [N], `seen` [N], `looked` columns, the newest look first.
    """
    chosen: NDArray[np.int64] = _choose(logits, seen, looked[:LOOKED])
    return chosen


@compiled
def _choose(logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]) -> Any:
    chosen = np.zeros(len(logits), np.bool_)
    # the bar first: only the few above it are sorted, not the whole catalogue
    bar = _bar(logits, seen)
    for is_seen, most in ((False, NEW), (True, SEEN)):
        columns, n = np.empty(len(logits), np.int64), 0
        for i in range(len(logits)):
            if seen[i] == is_seen and (is_seen or logits[i] >= bar):
                columns[n] = i
                n += 1
        _mark_best(logits, columns[:n], most, chosen)
    for i in range(len(looked)):
        chosen[looked[i]] = True
    columns, n = np.empty(len(logits), np.int64), 0
    for i in range(len(logits)):
        if chosen[i]:
            columns[n] = i
            n += 1
    return columns[:n]


@part
def _bar(logits: NDArray[np.float32], seen: NDArray[np.bool_]) -> Any:
    """Return a logit that `NEW` new products reach, and few more.

    It is the k-th best of the best of every 2 k-th product.
    """
    k = NEW
    best = np.full(2 * k, np.float32(-np.inf))
    for start in range(0, len(logits), 2 * k):
        for i in range(start, min(start + 2 * k, len(logits))):
            value = np.float32(-np.inf) if seen[i] else logits[i]
            best[i - start] = value if value > best[i - start] else best[i - start]
    return best[descending(best)[k - 1]]


@part
def _mark_best(
    logits: NDArray[np.float32], columns: NDArray[np.int64], k: int, chosen: NDArray[np.bool_]
) -> None:
    """Mark the k highest of some columns in ascending order, of equal ones the first."""
    mine = np.empty(len(columns), np.float32)
    for i in range(len(columns)):
        mine[i] = logits[columns[i]]
    order = descending(mine)
    for i in range(min(k, len(order))):
        chosen[columns[order[i]]] = mine[order[i]] > -np.inf


POPULAR = 20
"""One in so many available products is popular, at most."""


def popular_from(week: NDArray[np.float32]) -> float:
    """Return the week's sales from which a product is popular among others [n].

    They are above zero.
    """
    n = len(week) // POPULAR
    return max(
        float(np.partition(week, -n)[-n]) if n else float(week.max(initial=0)),
        float(np.float32(1e-6)),
    )
