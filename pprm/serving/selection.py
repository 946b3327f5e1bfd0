"""From scores to a list.

The best products under a shop's rules, in an order that is always the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pprm.ranking.candidate_features import ranks


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best products for one shopper, best first."""

    rows: NDArray[np.int64]
    """Catalogue rows."""
    scores: NDArray[np.float32]
    """Probabilities."""
    reasons: list[list[str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a shop wants of its lists, whatever the scores."""

    exclude_bought_days: float = 0.0
    """Exclude what was bought within so many days: fashion does not repeat, groceries do."""
    most_of_a_type: int | None = None
    """So many products of one type at most, so that a list is not ten kinds of yogurt."""


NO_RULES = Rules()


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
    scores: NDArray[np.float32], types: NDArray[np.int32], k: int, rules: Rules
) -> NDArray[np.int64]:
    """Return indices of the best of K scored products, best first, equal ones in their order.

    Only finite scores are taken.
    """
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = top(scores, k=k if rules.most_of_a_type is None else len(scores))
    order = order[scores[order] > -np.inf]
    if rules.most_of_a_type is not None:
        order = order[ranks(np.arange(len(order)), types[order]) < rules.most_of_a_type]
    return order[:k]
