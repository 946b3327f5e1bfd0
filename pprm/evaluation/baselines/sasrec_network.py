"""The network of SASRec and how it learns; see `sasrec`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

NEGATIVES = 512
"""Products drawn uniformly for a step, shared by all its positions."""
DROPOUT = 0.2
PADDING = 0
"""Codes of products begin at 1."""


class SasRecNetwork(nn.Module):
    """Causal self-attention over a shopper's last products.

    The product embedding is the output layer too.
    """

    causal: Tensor

    def __init__(self, products: int, width: int, blocks: int, length: int) -> None:
        super().__init__()
        self.product = nn.Embedding(products + 1, width, padding_idx=PADDING)
        self.place = nn.Embedding(length, width)
        block = nn.TransformerEncoderLayer(
            width, 1, width, DROPOUT, "relu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(
            block, blocks, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(length))
        for embedding in (self.product, self.place):
            nn.init.normal_(embedding.weight, std=width**-0.5)

    def forward(self, sequences: Tensor) -> Tensor:
        """Predict a vector of the product that comes next at each place, [B, L, d].

        The codes [B, L] are oldest first and padded at the end. No place sees the padding: it is
        later than all that is real.
        """
        n = sequences.shape[1]
        x = self.dropout(self.product(sequences) + self.place.weight[:n])
        vectors: Tensor = self.blocks(x, mask=self.causal[:n, :n], is_causal=True)
        return vectors

    @torch.inference_mode()
    def scores(self, sequence: Sequence[int]) -> NDArray[np.float32]:
        """Scores of all products, [products], after a sequence of codes that is not empty."""
        last = self(torch.tensor([sequence]))[0, -1]
        dots: NDArray[np.float32] = (self.product.weight[1:] @ last).numpy()
        return dots


def fit(
    network: SasRecNetwork,
    sequences: Sequence[NDArray[np.int64]],
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Train on random windows of sequences of codes.

    A step has `batch` windows, `rate` falls to 0 linearly.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    length, products = network.place.num_embeddings, network.product.num_embeddings - 1
    network.train()
    for _ in range(steps):
        windows = torch.from_numpy(_windows(rng, sequences, batch, length + 1))
        negatives = torch.from_numpy(rng.integers(1, products + 1, NEGATIVES))
        loss = _loss(network, windows, negatives)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    network.eval()


def _windows(
    rng: np.random.Generator, sequences: Sequence[NDArray[np.int64]], batch: int, length: int
) -> NDArray[np.int64]:
    """Draw windows [batch, length], padded at the end.

    The probability of a shopper is proportional to the sequence's length; places are equally
    likely.
    """
    ends = np.cumsum([len(sequence) for sequence in sequences])
    drawn = rng.integers(0, ends[-1], batch)
    out = np.full((batch, length), PADDING, np.int64)
    for row, (at, which) in enumerate(
        zip(drawn, np.searchsorted(ends, drawn, "right"), strict=True)
    ):
        sequence = sequences[which]
        start = min(int(at - ends[which] + len(sequence)), max(len(sequence) - length, 0))
        part = sequence[start : start + length]
        out[row, : len(part)] = part
    return out


def _loss(network: SasRecNetwork, windows: Tensor, negatives: Tensor) -> Tensor:
    """Sampled softmax of the next product against the negatives, over all places that have one."""
    real = windows[:, 1:] != PADDING
    vectors, following = network(windows[:, :-1])[real], windows[:, 1:][real]
    positive = (vectors * network.product(following)).sum(-1, keepdim=True)
    negative = vectors @ network.product(negatives).T
    # drawn, but it is what came next
    negative = negative.masked_fill(negatives == following[:, None], -torch.inf)
    return cross_entropy(
        torch.cat([positive, negative], 1), torch.zeros(len(following), dtype=torch.long)
    )
