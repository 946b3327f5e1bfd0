"""PPRM: texts and the interaction sequence, through fully connected layers, to a probability.

He, "Personalized product recommendations based on deep learning": R(u, b) = PPRM(U, B, theta).
Notable choices: the first layer is kept in parts, W [u; b; x] = Wu u + Wb b + Wx x, so that a
catalogue is scored with Wb b computed once per product; the interaction sequence enters as decayed
counters per shopper and product (`features.CROSS`), as three recency-weighted means of product
vectors, and as their dot products with the candidate.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pprm.core.events import Kind
from pprm.retrieval.features import CROSS, SCALARS

KIND_WEIGHTS = {
    Kind.PURCHASE: 1.0,
    Kind.ADD_TO_CART: 0.5,
    Kind.SEARCH_CLICK: 0.2,
    Kind.VIEW: 0.2,
    Kind.REMOVE_FROM_CART: 0.0,
    Kind.REVIEW: 0.0,
}
"""Weights in the pooled sequence, set by hand: the bundled data has only purchases."""
LONGEST = 4.0
"""The longest vector of a product, in usual lengths of the training; longer ones are shortened."""


@dataclass(frozen=True, slots=True)
class PPRMConfig:
    """The network and its training. The default is PPRM-S; `paper()` is the published model."""

    name: str = "pprm-s"
    text_dimensions: int = 384
    """Of the encoder's vectors."""
    product_dimensions: int = 0
    """Of products' vectors that were made elsewhere; 0: the encoder reads products, too."""
    projected: int = 96
    """Principal components of the product text that are kept; 0 keeps the text as it is."""
    product: int = 32
    """Of the learned product vector; 0 uses the text itself."""
    hidden: tuple[int, ...] = (64,)
    sequence: bool = True
    """Whether the interaction sequence (counters, pooled vectors, scalars) is part of the input."""
    pool_days: tuple[float, ...] = (4.0, 21.0, 120.0)
    """Half-lives of the pooled sequence before training."""
    loss: str = "mse"
    learning_rate: float = 3e-3
    batch: int = 64
    """Baskets per step; pairs per step for the published training."""
    epochs: int = 3

    @property
    def vector_dimensions(self) -> int:
        """Of what is read of a product."""
        return self.product_dimensions or self.text_dimensions

    @classmethod
    def paper(cls) -> "PPRMConfig":
        """The network exactly as published: both texts in, FC and ReLU, one sigmoid.

        MSE, Adam, learning rate 0.001, batch 16.
        """
        return cls(
            name="pprm-paper", projected=0, product=0, hidden=(128, 64), sequence=False,
            pool_days=(),
            loss="mse", learning_rate=1e-3, batch=16, epochs=1,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PPRMConfig":
        """The inverse of `to_dict`."""
        return cls(
            **{**values, "hidden": tuple(values["hidden"]), "pool_days": tuple(values["pool_days"])}
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class PPRM(nn.Module):
    """The network, in the parts that factorised scoring needs.

    H is the first hidden width, d the product vector's.
    """

    text_mean: Tensor
    text_axes: Tensor
    cross_mean: Tensor
    cross_scale: Tensor

    def __init__(self, config: PPRMConfig) -> None:
        super().__init__()
        self.config = config
        text = config.projected or config.vector_dimensions
        d, first = config.product or text, config.hidden[0]
        pools = len(config.pool_days) if config.sequence else 0
        user = config.text_dimensions + (len(SCALARS) + pools * d if config.sequence else 0)
        self.register_buffer("text_mean", torch.zeros(config.vector_dimensions))
        self.register_buffer("text_axes", torch.zeros(config.vector_dimensions, config.projected))
        self.register_buffer("cross_mean", torch.zeros(len(CROSS)))
        self.register_buffer("cross_scale", torch.ones(len(CROSS)))
        self.product = nn.Linear(text, d) if config.product else nn.Identity()
        self.log_pool_days = (
            nn.Parameter(torch.log(torch.tensor(config.pool_days))) if pools else None
        )
        self.match = nn.ParameterList([nn.Parameter(torch.eye(d) * 0.5) for _ in range(pools)])
        self.user_layer = nn.Linear(user, first)
        self.product_layer = nn.Linear(d, first, bias=False)
        self.cross_layer = (
            nn.Linear(len(CROSS) + pools, first, bias=False) if config.sequence else None
        )
        self.hidden = nn.ModuleList(
            [nn.Linear(a, b) for a, b in zip(config.hidden, config.hidden[1:], strict=False)]
        )
        self.output = nn.Linear(config.hidden[-1], 1)
        nn.init.constant_(self.output.bias, -2.0)

    @property
    def is_light(self) -> bool:
        """Whether the network has the default shape.

        That one is scored in one compiled pass.
        """
        return (
            self.config.sequence
            and len(self.config.hidden) == 1
            and len(self.config.pool_days) == 3
        )

    @property
    def longest(self) -> Tensor:
        """Length to which longer vectors of products are shortened.

        It is infinite where inputs were not standardised.

        The axes were scaled so that what the network learned from spreads by 1 along each, so mean
        and axes tell how long it usually was.
        """
        scales = self.text_axes.norm(dim=0)
        used = scales[scales > 0]
        if not len(used):
            return torch.tensor(torch.inf, device=scales.device)
        return LONGEST * torch.sqrt(self.text_mean.square().sum() + used.pow(-2).sum())

    def product_vectors(self, text: Tensor) -> Tensor:
        """Return learned vectors of products, [n, d], from what is read of them."""
        vectors: Tensor = self.product(self.project(text))
        return vectors

    def project(self, text: Tensor) -> Tensor:
        """Return what is kept of the products' texts, [n, projected].

        It is the part of `product_vectors` in which nothing is learned.
        """
        if not self.config.projected:
            return text
        return (shortened(text, self.longest) - self.text_mean) @ self.text_axes

    def pool(self, vectors: Tensor, ages: Tensor, weights: Tensor) -> Tensor:
        """Compute recency-weighted means of sequences, [B, pools, d].

        Sequences are [B, L, d], days [B, L], weights [B, L] (0: none).
        """
        assert self.log_pool_days is not None
        recency = torch.exp2(-ages[..., None] / self.log_pool_days.exp()) * weights[..., None]
        pooled: Tensor = torch.einsum("blk,bld->bkd", recency, vectors) / (
            recency.sum(1)[..., None] + 0.5
        )
        return pooled

    def user_part(self, text: Tensor, scalars: Tensor, pooled: Tensor | None) -> Tensor:
        """Compute the shopper's share of the first layer, [B, H].

        The inputs are [B, text_dimensions], [B, 7] and [B, pools, d].
        """
        parts = [text] if pooled is None else [text, scalars, pooled.flatten(1)]
        part: Tensor = self.user_layer(torch.cat(parts, 1))
        return part

    def queries(self, pooled: Tensor) -> Tensor:
        """Pooled vectors as queries for the dot products with candidates, [B, pools, d]."""
        return torch.stack([pooled[:, k] @ matrix for k, matrix in enumerate(self.match)], 1)

    def cross_part(self, cross: Tensor, matches: Tensor) -> Tensor:
        """The share of cross features [B, C, 40] and dot products [B, C, pools], [B, C, H]."""
        assert self.cross_layer is not None
        standard = (cross - self.cross_mean) / self.cross_scale
        part: Tensor = self.cross_layer(torch.cat([standard, matches], -1))
        return part

    def cross_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights of the same share.

        They are of cross features as they come [40, H], of dot products [pools, H], and the
        standardisation's constant [H].
        """
        assert self.cross_layer is not None
        weight = self.cross_layer.weight.detach()
        scaled = (weight[:, : len(CROSS)] / self.cross_scale).T.contiguous()
        return scaled, weight[:, len(CROSS) :].T.contiguous(), -self.cross_mean @ scaled

    def head(self, first: Tensor) -> Tensor:
        """Logits [...] from the sum of the first layer's shares [..., H]."""
        x = torch.relu(first)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        logits: Tensor = self.output(x)[..., 0]
        return logits


def shortened(vectors: Tensor, longest: Tensor) -> Tensor:
    """Scale vectors [n, dimensions] above a length down to it.

    An embedding's meaning is its direction.
    """
    within: Tensor = vectors * (longest / vectors.norm(dim=1, keepdim=True)).clamp(max=1)
    return within
