"""The network that ranks: PPRM again, on retrieval's best few hundred, with a richer input layer.

[candidate features] -> FC 64 - ReLU - FC 32 - ReLU - probability. The candidates are the best of
what the shopper bought before and the best of what is new to them, so that neither drives out the
other, and what they looked at lately.
"""

import torch
from torch import Tensor, nn

from pprm.ranking.candidate_features import NAMES

HIDDEN = (64, 32)
MEMBERS = 3
CLIP = 4.0
"""Standard deviations: further out an input says no more."""


class RankingNetwork(nn.Module):
    """The mean of a few networks that learned from the same examples with different seeds.

    Each errs in its own way.

    Their layers are kept side by side, M members with widths H1 and H2.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, inputs: int = len(NAMES), hidden: tuple[int, int] = HIDDEN, members: int = MEMBERS
    ) -> None:
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
        hidden = (
            torch.relu_(self.first(self.standard(x)))
            .view(len(x), *self.second.shape[:2])
            .transpose(0, 1)
        )
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
