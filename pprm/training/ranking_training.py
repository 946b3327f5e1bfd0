"""How ranking learns.

Visits are replayed for retrieval's candidates, and for what was bought of them.

Negatives are hard by themselves, so a sample of them is enough: a kept share r of a stratum shifts
the logit by -log r, which the loss takes into account, so that the network's own output is the
probability among all candidates.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from pprm.data.dataset import Dataset
from pprm.data.replay import next_visits, replay
from pprm.ranking.candidate_features import NAMES
from pprm.ranking.network import MEMBERS, RankingNetwork
from pprm.ranking.slow_tables import SlowTables
from pprm.serving.scorer import Scorer
from pprm.state.user_state import UserState
from pprm.training.fit import passes

SEEN_NEGATIVES, NEW_NEGATIVES = 40, 50
"""Kept of a visit's candidates that were bought before, and of others."""
VISIT = 0.5
"""Between 0, all candidates count alike, and 1, all visits do.

NDCG counts visits, but large ones hold more examples.
"""
SERVED = 3
"""One in so many visits is learned from as served, too."""
BATCH = 2048
EPOCHS = 4
LEARNING_RATE = 3e-3
DECAY = 1e-5
"""Weight decay."""
WARM_UP = 200


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """R candidates of many visits."""

    features: NDArray[np.float16]
    """[R, len(NAMES)]"""
    bought: NDArray[np.bool_]
    offsets: NDArray[np.float32]
    """-log of the share of its stratum that was kept, [R]."""
    weights: NDArray[np.float32]
    """What a candidate counts for, [R]: a list is judged by visits, whatever these buy."""
    bought_at: NDArray[np.int64]
    """Unix seconds of the visit that says what was bought, [R]."""


def build(
    dataset: Dataset,
    scorer: Scorer,
    tables: Mapping[int, SlowTables],
    visits: NDArray[np.int64],
    until: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> CandidateSet:
    """Replay until a Unix time and take candidates at all `visits`.

    At some visits they are also taken as served, one visit before.

    Args:
        dataset: what is replayed; its products are the rows of the scorer's catalogue.
        scorer: retrieval alone, as it serves. Its popularity is counted along.
        tables: tables by the Unix time until which they have seen: those before a visit serve it.
        visits: numbers of visits, in any order.
        until: Unix time.
        seed: of the sample of negatives.
        progress: called with the number of each visit passed.
    """
    at_visit, served = set(visits.tolist()), set(visits[::SERVED].tolist())
    following, first = next_visits(dataset), dataset.visits()
    sample = _Sample(scorer, np.random.default_rng(seed))
    for visit in replay(dataset, scorer.catalogue, scorer.popularity, until):
        scorer.tables = tables_for(tables, visit.now)
        if visit.number in at_visit:
            sample.add(visit.before, visit.now, visit.products, visit.now)
        if (after := int(following[visit.number])) in served:
            bought = slice(first[after], first[after + 1])
            sample.add(
                visit.after, visit.now, dataset.product[bought], int(dataset.time[first[after]])
            )
        progress(visit.number)
    return sample.done()


def tables_for(tables: Mapping[int, SlowTables], now: int) -> SlowTables:
    """Return the newest tables that have seen nothing of a moment's future.

    They are the oldest where all have.
    """
    return tables[max((until for until in tables if until <= now), default=min(tables))]


class _Sample:
    def __init__(self, scorer: Scorer, rng: np.random.Generator) -> None:
        self.scorer, self.rng = scorer, rng
        self.parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, state: UserState, now: int, products: NDArray[np.int32], at: int) -> None:
        """Take candidates as of `now` for the visit that buys `products` at a Unix time.

        None where nothing was bought before, or nothing is bought of them.
        """
        if not state.purchases:
            return
        found = self.scorer.candidates_of(state, now)
        bought = np.isin(found.candidates.rows, products)
        if not bought.any():
            return
        keep, offsets = [np.flatnonzero(bought)], np.zeros(len(bought), np.float32)
        for stratum, most in ((found.seen, SEEN_NEGATIVES), (~found.seen, NEW_NEGATIVES)):
            negatives = np.flatnonzero(stratum & ~bought)
            some = (
                negatives
                if len(negatives) <= most
                else self.rng.choice(negatives, most, replace=False)
            )
            keep.append(some)
            offsets[stratum] = np.log(max(len(negatives), 1) / max(len(some), 1))
        kept = np.concatenate(keep)
        inputs = self.scorer.candidate_features(state, now, found.candidates, kept)
        weights = np.full(len(kept), bought.sum() ** -VISIT, np.float32)
        self.parts.append(
            (
                inputs.astype(np.float16),
                bought[kept],
                offsets[kept],
                weights,
                np.full(len(kept), at),
            )
        )

    def done(self) -> CandidateSet:
        if not self.parts:
            columns, none = np.zeros((0, len(NAMES)), np.float16), np.zeros(0, np.float32)
            return CandidateSet(columns, none.astype(bool), none, none, none.astype(np.int64))
        return CandidateSet(*map(np.concatenate, zip(*self.parts, strict=True)))


def enough(data: CandidateSet, until: int) -> bool:
    """Whether there is anything to learn from before a Unix time.

    There is not where no shopper comes back.
    """
    return bool((data.bought_at < until).any())


def fit(
    data: CandidateSet,
    until: int,
    seed: int,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    without: slice = slice(0),
    members: int = MEMBERS,
) -> RankingNetwork:
    """Train on what was bought before a Unix time; columns in `without` have no say.

    `progress` gets step, steps and the loss.
    """
    known = np.flatnonzero(data.bought_at < until)
    torch.manual_seed(seed)
    model = RankingNetwork(members=members)
    _standardise(model, data.features[known[::7]])
    model.scale[without] = np.inf
    per_epoch = max(len(known) // BATCH, 1)
    epochs = passes(EPOCHS, per_epoch)
    steps = epochs * per_epoch
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for step, at in enumerate(_batches(np.random.default_rng(seed), known, epochs)):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(
                1.0, (step + 1) / WARM_UP, 2 * (steps - step) / steps + 0.02
            )
        loss = _loss(model, data, at)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress(step + 1, steps, loss.item() / members)
    return model.eval()


def _batches(
    rng: np.random.Generator, rows: NDArray[np.int64], epochs: int
) -> Iterator[NDArray[np.int64]]:
    for _ in range(epochs):
        order = rng.permutation(rows)
        for start in range(0, max(len(rows) - BATCH, 0) + 1, BATCH):
            yield np.sort(order[start : start + BATCH])


def _standardise(model: RankingNetwork, features: NDArray[np.float16]) -> None:
    """Centre and scale by a sample of features.

    What never varied (browsing, on grocery data) gets no say.
    """
    sample = features.astype(np.float32)
    spread = sample.std(0)
    model.mean.copy_(torch.from_numpy(sample.mean(0)))
    model.scale.copy_(
        torch.from_numpy(np.where(spread < 1e-6, np.inf, spread + 1e-4).astype(np.float32))
    )


def _loss(model: RankingNetwork, data: CandidateSet, at: NDArray[np.int64]) -> torch.Tensor:
    """Of all members together: they share nothing but the examples."""
    logits = model.each(torch.from_numpy(data.features[at].astype(np.float32))) + torch.from_numpy(
        data.offsets[at]
    )
    wanted = torch.from_numpy(data.bought[at].astype(np.float32)).expand_as(logits)
    counting = torch.from_numpy(data.weights[at]).expand_as(logits)
    losses = (
        binary_cross_entropy_with_logits(logits, wanted, counting, reduction="sum")
        / counting[0].sum()
    )
    weights = torch.stack(
        [p.square().sum() for p in (model.first.weight, model.second, model.output)]
    ).sum()
    return losses + DECAY / 2 * weights
