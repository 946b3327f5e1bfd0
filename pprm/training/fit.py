"""How the network learns: standardised inputs, Adam, the published loss."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pprm.catalogue.catalogue import Catalogue
from pprm.retrieval.model import LONGEST, PPRM, PPRMConfig, shortened
from pprm.training.training_set import IGNORED, TrainingSet

WARM_UP = 50
"""Steps until the full learning rate."""
LEAST_STEPS = 300
"""A small shop's examples are gone through more often: too few steps teach nothing."""


def fit(
    config: PPRMConfig,
    data: TrainingSet,
    catalogue: Catalogue,
    user_texts: NDArray[np.float32],
    seed: int,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    start: PPRM | None = None,
) -> PPRM:
    """Train a network; `user_texts` [users, text_dimensions].

    `progress` gets step, steps and the loss.

    `start` is a network that learned on another shop: no weight depends on ids, so it is learned
    on, and its inputs stay as they were scaled there.
    """
    torch.manual_seed(seed)
    model = PPRM(config)
    if start:
        model.load_state_dict(start.state_dict())
    else:
        _standardise(model, data, catalogue)
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    rng = np.random.default_rng(seed)
    batches = _Batches(data, catalogue, user_texts, model)
    epochs = passes(config.epochs, batches.per_epoch) if config.sequence else config.epochs
    steps, step = epochs * batches.per_epoch, 0
    for _ in range(epochs):
        for chosen in batches.shuffled(rng):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (
                    _schedule(step, steps) if config.sequence else 1.0
                )
            loss = _loss(config, *batches.forward(model, chosen))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            step += 1
            progress(step, steps, loss.item())
    _silence_constants(model, data)
    return model.eval()


def passes(epochs: int, per_epoch: int) -> int:
    """Return how often examples of so many steps are gone through.

    `epochs` times, or until there are `LEAST_STEPS`.
    """
    return max(epochs, -(-LEAST_STEPS // per_epoch))


def _schedule(step: int, steps: int) -> float:
    """Warm-up, then flat, then linear to 0 over the second half."""
    return min(1.0, (steps - step) / (steps * 0.5)) * min(1.0, (step + 1) / WARM_UP)


def _loss(config: PPRMConfig, logits: Tensor, labels: Tensor) -> Tensor:
    counted = labels != IGNORED
    wanted = labels.clamp(min=0).float()
    if config.loss == "bce":
        losses = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    else:
        losses = (torch.sigmoid(logits) - wanted) ** 2
    return (losses * counted).sum() / counted.sum()


def _standardise(model: PPRM, data: TrainingSet, catalogue: Catalogue) -> None:
    """Centre and scale the cross features.

    The principal axes of the candidates' texts are scaled, too.
    """
    if not model.config.sequence:
        return
    sample = data.cross[::10].reshape(-1, data.cross.shape[-1]).astype(np.float32)
    model.cross_mean.copy_(torch.from_numpy(sample.mean(0)))
    spread = sample.std(0)
    model.cross_scale.copy_(
        torch.from_numpy(np.where(spread < 1e-6, 1.0, spread + 1e-3).astype(np.float32))
    )
    texts = _without_giants(catalogue.vectors[catalogue.available])
    mean = texts.mean(0)
    _, _, axes = np.linalg.svd(texts - mean, full_matrices=False)
    projected = (texts - mean) @ axes[: model.config.projected].T
    scale = projected.std(0).mean()
    axes = axes[: model.config.projected].T / (scale if scale > 1e-6 else 1.0)
    model.text_mean.copy_(torch.from_numpy(mean))
    model.text_axes[:, : axes.shape[1]] = torch.from_numpy(axes.astype(np.float32))


def _without_giants(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors as the network will read them.

    One that is a million times longer would be all that the axes show.
    """
    usual = np.median(np.linalg.norm(vectors[vectors.any(1)], axis=1)) if vectors.any() else np.inf
    return shortened(torch.from_numpy(vectors), torch.tensor(LONGEST * usual)).numpy()


def _silence_constants(model: PPRM, data: TrainingSet) -> None:
    """Inputs that never varied in training (review sentiment on grocery data) get no say."""
    if model.cross_layer is None:
        return
    with torch.no_grad():
        constant = np.flatnonzero(np.ptp(data.scalars, axis=0) == 0) + model.config.text_dimensions
        model.user_layer.weight[:, torch.from_numpy(constant)] = 0
        same = np.flatnonzero(
            np.ptp(data.cross[::10].reshape(-1, data.cross.shape[-1]), axis=0) == 0
        )
        model.cross_layer.weight[:, torch.from_numpy(same)] = 0


class _Batches:
    """Cuts the training set into steps and runs the network on one."""

    def __init__(
        self, data: TrainingSet, catalogue: Catalogue, user_texts: NDArray[np.float32], model: PPRM
    ) -> None:
        self.data, self.config = data, (config := model.config)
        texts, self.text_of = np.unique(catalogue.vectors, axis=0, return_inverse=True)
        self.projected = model.project(torch.from_numpy(texts))  # once: nothing is learned in it
        self.user_texts = torch.from_numpy(user_texts)
        self.text_of = self.text_of.reshape(-1)
        self.pairs = _balanced_pairs(data) if not config.sequence else np.zeros((0, 2), np.int64)
        self.examples = len(data.user) if config.sequence else len(self.pairs)
        self.per_epoch = -(-self.examples // config.batch)

    def shuffled(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """One epoch of steps: indices of the examples of each."""
        order = rng.permutation(self.examples)
        return [
            order[i : i + self.config.batch] for i in range(0, self.examples, self.config.batch)
        ]

    def forward(self, model: PPRM, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Logits and labels of a step."""
        return (
            self._visits(model, chosen)
            if self.config.sequence
            else self._pairs(model, self.pairs[chosen])
        )

    def _visits(self, model: PPRM, visits: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        data, z = self.data, model.product(self.projected)
        candidates = z[torch.from_numpy(self.text_of[data.candidates[visits]])]
        sequence = z[torch.from_numpy(self.text_of[data.rows[visits]])]
        pooled = model.pool(sequence, _float(data.ages[visits]), _float(data.weights[visits]))
        user = model.user_part(
            self.user_texts[data.user[visits]], torch.from_numpy(data.scalars[visits]), pooled
        )
        matches = torch.einsum("bkd,bcd->bck", model.queries(pooled), candidates)
        cross = model.cross_part(_float(data.cross[visits]), matches)
        return model.head(
            user[:, None] + model.product_layer(candidates) + cross
        ), torch.from_numpy(data.labels[visits])

    def _pairs(self, model: PPRM, pairs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        q, c = pairs[:, 0], pairs[:, 1]
        text = self.user_texts[self.data.user[q]]
        product = model.product(self.projected[self.text_of[self.data.candidates[q, c]]])
        logits = model.head(model.user_part(text, text, None) + model.product_layer(product))
        return logits, torch.from_numpy(self.data.labels[q, c])


def _balanced_pairs(data: TrainingSet) -> NDArray[np.int64]:
    """As published: (visit, candidate) pairs, as many negatives as positives."""
    positive = data.labels == 1
    negatives = (data.labels == 0) & (
        np.cumsum(data.labels == 0, 1) <= positive.sum(1, keepdims=True)
    )
    return np.argwhere(positive | negatives)


def _float(array: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
