"""The second stage: PPRM again, on the first stage's best few hundred, with a richer input layer.

[candidate features] -> FC 64 - ReLU - FC 32 - ReLU - probability. The candidates are the best of what the shopper
bought before and the best of what is new to them, so that neither drives out the other, and what they looked at lately.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pprm.candidate_features import NAMES
from pprm.compiled import compiled

SEEN, NEW, LOOKED = 130, 200, 50
"""Candidates: products bought before, others, and the newest looks."""
HIDDEN = (64, 32)
MEMBERS = 3
CLIP = 4.0
"""Standard deviations: further out an input says no more."""


class SecondStage(nn.Module):
    """The mean of a few networks that learned from the same examples with other beginnings: each errs in its own way.

    Their layers are kept side by side, M members with widths H1 and H2.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int = len(NAMES), hidden: tuple[int, int] = HIDDEN, members: int = MEMBERS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        first, second = hidden
        self.first = nn.Linear(inputs, members * first)
        self.second = nn.Parameter(_uniform((members, first, second), first))
        self.second_bias = nn.Parameter(_uniform((members, 1, second), first))
        self.output = nn.Parameter(_uniform((members, second, 1), second))
        self.output_bias = nn.Parameter(torch.full((members, 1, 1), -2.0))

    def standard(self, x: Tensor) -> Tensor:
        """Features [..., len(NAMES)] as the networks take them."""
        return torch.sub(x, self.mean).div_(self.scale).clamp_(-CLIP, CLIP)

    def each(self, x: Tensor) -> Tensor:
        """Features [n, len(NAMES)] to the logits of each member, [M, n]."""
        hidden = torch.relu_(self.first(self.standard(x))).view(len(x), *self.second.shape[:2]).transpose(0, 1)
        hidden = torch.relu_(torch.baddbmm(self.second_bias, hidden, self.second))
        logits: Tensor = torch.baddbmm(self.output_bias, hidden, self.output)[..., 0]
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., len(NAMES)] to logits [...]."""
        logits: Tensor = self.each(x.flatten(0, -2)).mean(0)
        return logits.view(x.shape[:-1])


def _uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
    """Weights to begin with, as `nn.Linear` has them."""
    weights: Tensor = (torch.rand(shape) * 2 - 1) / inputs**0.5
    return weights


def choose(logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of the candidates among N products: `logits` [N], `seen` [N], `looked` columns, the newest look first."""
    chosen: NDArray[np.int64] = _choose(logits, seen, looked[:LOOKED])
    return chosen


@compiled
def _choose(logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]) -> Any:
    chosen, new, n = np.zeros(len(logits), np.bool_), np.empty(len(logits), np.int64), 0
    bar = _bar(logits, seen, NEW)
    for i in range(len(logits)):
        if logits[i] >= bar and not seen[i]:
            new[n] = i
            n += 1
    _mark_best(logits, new[:n], NEW, chosen)
    _mark_best(logits, np.flatnonzero(seen), SEEN, chosen)
    chosen[looked] = True
    return np.flatnonzero(chosen)


@compiled
def _bar(logits: NDArray[np.float32], seen: NDArray[np.bool_], k: int) -> Any:
    """A logit that k new products reach, and few more: the k-th best of the best of every 2 k-th one."""
    best = np.full(2 * k, np.float32(-np.inf))
    for start in range(0, len(logits), 2 * k):
        for i in range(start, min(start + 2 * k, len(logits))):
            value = np.float32(-np.inf) if seen[i] else logits[i]
            best[i - start] = value if value > best[i - start] else best[i - start]
    return best[np.argsort(best, kind="mergesort")[k]]  # the sort that is compiled for candidates anyway


@compiled
def _mark_best(logits: NDArray[np.float32], columns: NDArray[np.int64], k: int, chosen: NDArray[np.bool_]) -> None:
    """Mark the k highest of some columns in ascending order, of equal ones the first."""
    best = columns[np.argsort(-logits[columns], kind="mergesort")[:k]]
    for i in range(len(best)):
        chosen[best[i]] = logits[best[i]] > -np.inf
