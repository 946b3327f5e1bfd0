"""Ranking and decision metrics of one query each; plain numpy, no model in sight."""

import numpy as np
from numpy.typing import NDArray

K = 10


def ndcg(ranked: NDArray[np.int64], truth: set[int], k: int = K) -> float:
    """Normalised discounted cumulative gain.

    Hits weigh 1 / log2(rank + 1); their sum is divided by the best that is possible.
    """
    weights = 1 / np.log2(np.arange(2, k + 2))
    gain = sum(
        weights[place] for place, product in enumerate(ranked[:k].tolist()) if product in truth
    )
    return float(gain / weights[: min(len(truth), k)].sum())


def recall(ranked: NDArray[np.int64], truth: set[int], k: int = K) -> float:
    """Share of the truth among the first k."""
    return len(truth.intersection(ranked[:k].tolist())) / len(truth)


def hit(ranked: NDArray[np.int64], truth: set[int], k: int = K) -> float:
    """1 where any of the truth is among the first k."""
    return float(not truth.isdisjoint(ranked[:k].tolist()))


def decision(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Accuracy, precision and recall of `scores >= threshold`."""
    predicted = scores >= threshold
    right = float((predicted & labels).sum())
    return {
        "accuracy": float((predicted == labels).mean()),
        "precision": right / max(float(predicted.sum()), 1.0),
        "recall": right / max(float(labels.sum()), 1.0),
    }


def best_threshold(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """The threshold of the highest accuracy; the lowest of equal ones."""
    order = np.argsort(scores, kind="stable")
    ordered, values = labels[order], np.r_[scores[order], np.inf]
    # Right decisions when everything from a place on is called positive; a cut between equal scores
    # is none.
    right = np.r_[0, np.cumsum(~ordered)] + np.r_[np.cumsum(ordered[::-1])[::-1], 0]
    possible = np.r_[True, values[1:] != values[:-1]]
    return float(values[int(np.argmax(np.where(possible, right, -1)))])
