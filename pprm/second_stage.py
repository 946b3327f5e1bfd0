"""The second stage: PPRM again, on the first stage's best few hundred, with a richer input layer.

[candidate features] -> FC 64 - ReLU - FC 32 - ReLU - probability. The candidates are the best of what the shopper
bought before and the best of what is new to them, so that neither drives out the other, and what they looked at lately.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pprm.candidate_features import NAMES

SEEN, NEW, LOOKED = 130, 200, 50
"""Candidates: products bought before, others, and the newest looks."""
HIDDEN = (64, 32)
MEMBERS = 3
CLIP = 4.0
"""Standard deviations: further out an input says no more."""


class SecondStage(nn.Module):
    """The mean of a few networks that learned from the same examples with other seeds: each errs in its own way."""

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int = len(NAMES), hidden: tuple[int, ...] = HIDDEN, members: int = MEMBERS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.members = nn.ModuleList([_network((inputs, *hidden)) for _ in range(members)])

    def standard(self, x: Tensor) -> Tensor:
        """Features [..., len(NAMES)] as the networks take them."""
        return torch.clamp((x - self.mean) / self.scale, -CLIP, CLIP)

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., len(NAMES)] to logits [...]."""
        x = self.standard(x)
        logits: Tensor = torch.stack([member(x)[..., 0] for member in self.members]).mean(0)
        return logits


def _network(widths: tuple[int, ...]) -> nn.Sequential:
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    output = nn.Linear(widths[-1], 1)
    nn.init.constant_(output.bias, -2.0)
    return nn.Sequential(*layers, output)


def choose(logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of the candidates among N products: `logits` [N], `seen` [N], `looked` columns, the newest look first."""
    masked = np.where(seen, -np.inf, logits)
    new = _best(masked, min(NEW, int((~seen).sum())))
    own = np.flatnonzero(seen)
    own = own[_best(logits[own], min(SEEN, len(own)))]
    return np.union1d(np.concatenate([own, new]), looked[:LOOKED])


def _best(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Indices of the k highest, in no order."""
    return np.argpartition(-values, k - 1)[:k] if 0 < k < len(values) else np.arange(len(values))[: max(k, 0)]
