"""From scores to a list.

The best products under a shop's rules, in an order that is always the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pprm.serving.rules.kinds import Pick


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best products for one shopper, best first."""

    rows: NDArray[np.int64]
    """Catalogue rows."""
    scores: NDArray[np.float32]
    """Probabilities."""
    reasons: list[list[str]]


def top(
    scores: NDArray[np.floating], excluded: NDArray[np.bool_] | None = None, k: int = 10
) -> NDArray[np.int64]:
    """Return columns of the k highest scores [N], best first, equal ones by column.

    Excluded ones [N] are never taken.
    """
    if excluded is not None:
        scores = np.where(excluded, -np.inf, scores)
    k = min(k, len(scores))
    if not k:
        return np.zeros(0, np.int64)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    at = np.flatnonzero(scores >= threshold)
    best: NDArray[np.int64] = at[np.lexsort((at, -scores[at]))][:k]
    return best


def pick(
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    codes: NDArray[np.int32],
    k: int,
    picks: Sequence[Pick],
) -> NDArray[np.int64]:
    """Return indices of the best of K scored products, best first, equal ones in their order.

    Only finite scores are taken. `rows` [K] are theirs in the catalogue, whose `codes` the rules
    read.
    """
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = top(scores, k=len(scores) if picks else k)
    order = order[scores[order] > -np.inf]
    for rule in picks:
        order = order[rule.kept(codes[rows[order]])]
    return order[:k]
