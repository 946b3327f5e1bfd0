"""The second stage: PPRM again, on the first stage's best few hundred, with a richer input layer.

[candidate features] -> FC 64 - ReLU - FC 32 - ReLU - probability. The candidates are the best of what the shopper
bought before and the best of what is new to them, so that neither drives out the other, and what they looked at lately.
"""

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
ROWS = 2048
"""Rows of one call on a CPU: what lies between two layers stays in its cache, and in memory that it already has."""
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


@torch.inference_mode()
def predict(model: SecondStage, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [n] of features [n, len(NAMES)], on the model's device."""
    device = model.mean.device
    if device.type != "cpu":  # exactly: there these networks take a fraction of their transfer
        made: NDArray[np.float32] = model(torch.from_numpy(inputs).to(device, non_blocking=True)).cpu().numpy()
        return made
    some = torch.split(torch.from_numpy(inputs), ROWS)
    # oneDNN multiplies: the same numbers in half the time, and in bf16 where the CPU has units for it (AMX)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return torch.cat([model(rows) for rows in some]).numpy()
    finally:
        torch.set_float32_matmul_precision(before)


def _uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
    """Weights to begin with, as `nn.Linear` has them."""
    weights: Tensor = (torch.rand(shape) * 2 - 1) / inputs**0.5
    return weights


def choose(logits: NDArray[np.float32], seen: NDArray[np.bool_], looked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of the candidates among N products: `logits` [N], `seen` [N], `looked` columns, the newest look first."""
    chosen = np.zeros(len(logits), bool)
    _mark_best(logits, seen, False, NEW, chosen)
    _mark_best(logits, seen, True, SEEN, chosen)
    chosen[looked[:LOOKED]] = True
    return np.flatnonzero(chosen)


@compiled
def _mark_best(
    values: NDArray[np.float32], seen: NDArray[np.bool_], wanted: bool, k: int, chosen: NDArray[np.bool_]
) -> None:
    """Mark the k highest values where `seen` is as wanted, of equal ones the first: one pass with a rising bar."""
    held, n, bar = np.empty(2 * k, np.int64), 0, np.float32(-np.inf)
    for i in range(len(values)):
        if seen[i] == wanted and values[i] > bar:
            held[n] = i
            n += 1
            if n == len(held):
                held[:k] = held[np.argsort(-values[held], kind="mergesort")[:k]]
                n, bar = k, values[held[k - 1]]
    best = held[:n][np.argsort(-values[held[:n]], kind="mergesort")[:k]]
    for i in range(len(best)):
        chosen[best[i]] = True
