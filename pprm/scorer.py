"""Scores the whole catalogue for shoppers, with the first layer factorised, and the best few hundred once more.

W [u; b; x] is a sum: a part per product that changes only with the catalogue, a part per product that changes once a
day (popularity), one vector per shopper, and parts that are the same for all products of a type, category or maker.
So only the products bought, and one row per (type, category) pair and per maker, are computed per shopper; the rest
is adding. One thread owns a scorer and its catalogue and popularity.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm import features, slow_tables
from pprm.candidate_features import CandidateFeatures, Candidates
from pprm.catalogue import Catalogue
from pprm.events import Kind
from pprm.features import CATEGORY, GLOBAL, MAKERS, PRODUCT, SHARE_OF_CATEGORY, SHARE_OF_TYPE, TYPE, Groups
from pprm.model import KIND_WEIGHTS, PPRM
from pprm.popularity import Popularity
from pprm.ranking import NO_RULES, Ranking, Rules, pick, reasons, why
from pprm.second_stage import SecondStage, choose
from pprm.slow_tables import SlowTables
from pprm.user_state import DAY, MAX_SEQUENCE, UserState

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to vectors [n, text_dimensions]."""

NOT_A_CANDIDATE = 1000.0
"""Logits by which the second stage's candidates are above all others."""

_KIND_WEIGHT = np.array([KIND_WEIGHTS[kind] for kind in Kind], np.float32)


@dataclass(frozen=True, slots=True)
class _Tables:
    """What does not depend on the shopper, for the N candidates. H is the first hidden width."""

    rows: NDArray[np.int64]
    """Catalogue rows of the candidates, in the order of their hashes, [N]."""
    position: NDArray[np.int64]
    """Candidate of each catalogue row, -1 where it is none."""
    vectors: Tensor
    """Product vectors of all rows of the catalogue, [all, d]."""
    candidates: Tensor
    """Product vectors of the candidates, transposed, [d, N]."""
    static: Tensor
    """Wb b + b1 + the standardisation's constant, [N, H]."""
    pairs: NDArray[np.int64]
    """Distinct (type, category) pairs of the candidates, [P, 2]."""
    pair: Tensor
    """Pair of each candidate, [N]."""
    makers: NDArray[np.int64]
    """Distinct makers, [M]."""
    maker: Tensor
    """Maker of each candidate, [N]."""


def choose_device(wanted: str) -> torch.device:
    """`auto` takes the GPU where there is one.

    Raises:
        ValueError: cuda is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda is wanted, but torch sees no GPU: set device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(threads: int) -> None:
    """How many CPU threads one scoring call takes."""
    torch.set_num_threads(threads)


class Found(NamedTuple):
    """The first stage's candidates for a shopper, K of them."""

    columns: NDArray[np.int64]
    """Among `Scorer.candidates`, ascending."""
    candidates: Candidates
    seen: NDArray[np.bool_]
    """Which the shopper bought before."""


class _Asked(NamedTuple):
    """A shopper to rank the catalogue for, and what is wanted."""

    state: UserState
    now: float
    groups: Groups
    k: int
    rules: Rules


class Scorer:
    """Scores and ranks; tables are refreshed when the catalogue or the day of the popularity has changed."""

    def __init__(
        self,
        model: PPRM,
        catalogue: Catalogue,
        popularity: Popularity,
        encode: EncodeTexts,
        device: torch.device,
        second: SecondStage | None = None,
        tables: SlowTables | None = None,
    ) -> None:
        self.model = model.eval().to(device)
        self.second = second
        self.tables = tables or slow_tables.nothing()
        self._features = CandidateFeatures(catalogue, popularity)
        self.catalogue, self.popularity, self.encode, self.device = catalogue, popularity, encode, device
        self._version, self._day = -1, -1
        self._tables: _Tables | None = None
        self._daily = torch.zeros(0)
        self._buffers = (torch.zeros(0), torch.zeros(0))
        self._popularity = np.zeros((0, 4), np.float32)
        if model.cross_layer is not None:
            weight = model.cross_layer.weight.detach()
            scaled = weight[:, : len(features.CROSS)] / model.cross_scale
            self._cross = scaled.T.contiguous()
            self._match = weight[:, len(features.CROSS) :].T.contiguous()
            self._constant = -(model.cross_mean / model.cross_scale) @ weight[:, : len(features.CROSS)].T

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Catalogue rows that `score` scores, [N]: in the order of their hashes, the same in every worker."""
        return self._refresh(0).rows

    def gpu_bytes(self) -> int:
        """GPU memory held by tensors, 0 on the CPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    @torch.inference_mode()
    def score(self, states: Sequence[UserState], nows: Sequence[float]) -> Tensor:
        """Logits of the first stage of all candidates, [len(states), N], on the scorer's device, at Unix times."""
        out = torch.empty(len(states), len(self._refresh(0).rows), device=self.device)
        for i, logits, _ in self._score_each(states, nows):
            out[i] = logits
        return out

    def _score_each(self, states: Sequence[UserState], nows: Sequence[float]) -> Iterator[tuple[int, Tensor, Groups]]:
        """Index of a shopper, their logits [N], and the cross features that these were made from.

        Earlier times first, each with the popularity of its own day, so that no batch-mate's day looks into another's.
        """
        tables = self._refresh(0)
        user, queries = self._users(tables, states, nows)
        for i in np.argsort(nows, kind="stable").tolist():
            self._refresh(nows[i])
            groups = features.groups(states[i], self.catalogue, nows[i])
            first = self._first_layer(tables, groups, user[i], None if queries is None else queries[i])
            yield i, self.model.head(first), groups

    @torch.inference_mode()
    def recommend(
        self, states: Sequence[UserState], nows: Sequence[float], k: int, rules: Rules = NO_RULES
    ) -> list[Ranking]:
        """The k best available products for each shopper, by the shop's rules; equal scores in the order of hashes."""
        rankings: list[Ranking | None] = [None] * len(states)
        for i, logits, groups in self._score_each(states, nows) if states else ():
            values = logits.cpu().numpy().copy()
            values[self._bought_lately(states[i], nows[i], rules)] = -np.inf
            rank = self._rank_first if self.second is None else self._rank_second
            rankings[i] = rank(_Asked(states[i], nows[i], groups, k, rules), values)
        return [ranking for ranking in rankings if ranking]

    def _bought_lately(self, state: UserState, now: float, rules: Rules) -> NDArray[np.int64]:
        """Columns that the rules leave out."""
        lately = state.product_counters()["last"] > now - rules.exclude_bought_days * DAY
        return self._columns(self._refresh(0), state.product_keys()[lately])

    def _rank_first(self, asked: "_Asked", values: NDArray[np.float32]) -> Ranking:
        at = pick(values, self.catalogue.type[self.candidates], asked.k, asked.rules)
        rows = self.candidates[at]
        cross = features.dense(asked.groups, self.catalogue, rows, self._popularity[at])
        return Ranking(rows, _probabilities(values[at]), [reasons(row) for row in cross])

    def _rank_second(self, asked: "_Asked", values: NDArray[np.float32]) -> Ranking:
        assert self.second is not None
        candidates = self._find(asked.state, values, asked.groups).candidates
        inputs = self.candidate_features(asked.state, asked.now, candidates)
        second = self.second(torch.from_numpy(inputs)).numpy()
        at = pick(second, self.catalogue.type[candidates.rows], asked.k, asked.rules)
        return Ranking(candidates.rows[at], _probabilities(second[at]), why(self.second, inputs[at]))

    @torch.inference_mode()
    def rank_scores(self, state: UserState, now: float) -> NDArray[np.float32]:
        """Scores of all candidates, [N], in whose order `recommend` would list them.

        The second stage's logit for those that it sees, and below all of these the first stage's for the others.
        """
        ((_, logits, groups),) = self._score_each([state], [now])
        scores: NDArray[np.float32] = logits.cpu().numpy().copy()
        if self.second is None:
            return scores
        found = self._find(state, scores, groups)
        second = self.second(torch.from_numpy(self.candidate_features(state, now, found.candidates))).numpy()
        scores -= NOT_A_CANDIDATE
        scores[found.columns] = second
        return scores

    @torch.inference_mode()
    def candidates_of(self, state: UserState, now: float) -> Found:
        """What the second stage looks at for a shopper at a Unix time."""
        ((_, logits, groups),) = self._score_each([state], [now])
        return self._find(state, logits.cpu().numpy(), groups)

    def candidate_features(
        self, state: UserState, now: float, candidates: Candidates, keep: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The second stage's input, see `CandidateFeatures.of`."""
        return self._features.of(state, now, self.tables, candidates, keep)

    def _find(self, state: UserState, values: NDArray[np.float32], groups: Groups) -> Found:
        """The second stage's candidates, by the first's logits [N]; -inf is none."""
        tables = self._refresh(0)
        seen = np.zeros(len(values), bool)
        seen[self._columns(tables, state.product_keys())] = True
        keys, looks = state.looked_at()
        looked = self._columns(tables, keys[np.argsort(-looks["last"].astype(np.int64), kind="stable")])
        at = choose(values, seen, looked)
        at = at[np.isfinite(values[at])]
        return Found(at, Candidates(tables.rows[at], values[at], groups), seen[at])

    def _columns(self, tables: _Tables, products: NDArray[np.uint64]) -> NDArray[np.int64]:
        rows = self.catalogue.rows(products)
        columns = tables.position[rows[rows >= 0]]
        return columns[columns >= 0]

    def _first_layer(self, t: _Tables, g: Groups, user: Tensor, queries: Tensor | None) -> Tensor:
        first, extra = self._buffers
        torch.add(self._daily, user, out=first)
        if queries is None:
            return first
        first.addmm_((queries @ t.candidates).T, self._match)
        if len(g.rows):
            first += torch.index_select(self._pair_part(t, g), 0, t.pair, out=extra)
            first += torch.index_select(self._maker_part(t, g), 0, t.maker, out=extra)
            self._add_items(t, g, first)
        return first

    def _pair_part(self, t: _Tables, g: Groups) -> Tensor:
        """Share of type, category and of the type in the category, [P, H]."""
        type_, type_count = features.spread(g.types, g.type, g.type_count, t.pairs[:, 0])
        category, category_count = features.spread(g.categories, g.category, g.category_count, t.pairs[:, 1])
        share = (type_count / np.maximum(category_count, 1))[:, None]
        x = self._tensor(np.concatenate([type_, category, share], 1))
        return x @ torch.cat([self._cross[TYPE], self._cross[CATEGORY], self._cross[SHARE_OF_CATEGORY][None]])

    def _maker_part(self, t: _Tables, g: Groups) -> Tensor:
        maker, _ = features.spread(g.makers, g.maker, g.maker[:, 0], t.makers)
        return self._tensor(maker) @ self._cross[MAKERS]

    def _add_items(self, t: _Tables, g: Groups, first: Tensor) -> None:
        at = t.position[g.rows]
        kept = at >= 0
        if not kept.any():
            return
        _, type_count = features.spread(g.types, g.type, g.type_count, self.catalogue.type[g.rows[kept]])
        share = (g.product_count[kept] / np.maximum(type_count, 1))[:, None]
        x = self._tensor(np.concatenate([g.product[kept], share], 1))
        weights = torch.cat([self._cross[PRODUCT], self._cross[SHARE_OF_TYPE][None]])
        first.index_add_(0, torch.from_numpy(at[kept]).to(self.device), x @ weights)

    def _users(self, t: _Tables, states: Sequence[UserState], nows: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        text = self._tensor(self.encode([state.text.decode() for state in states]))
        if not self.model.config.sequence:
            return self.model.user_part(text, text, None), None
        scalars = self._tensor(np.stack([features.scalars(s, now) for s, now in zip(states, nows, strict=True)]))
        rows, ages, weights = sequences(states, nows, self.catalogue)
        vectors = t.vectors[torch.from_numpy(rows).to(self.device)]
        pooled = self.model.pool(vectors, self._tensor(ages), self._tensor(weights))
        return self.model.user_part(text, scalars, pooled), self.model.queries(pooled)

    def _refresh(self, now: float) -> _Tables:
        changed = self._version != self.catalogue.version
        if changed or self._tables is None:
            self._tables = self._make_tables()
            self._buffers = torch.empty_like(self._tables.static), torch.empty_like(self._tables.static)
            self._version = self.catalogue.version
        if self.popularity.advance(now) or changed or self._day != self.popularity.changes:
            self._daily = self._make_daily(self._tables)
            self._day = self.popularity.changes
        return self._tables

    @torch.inference_mode()
    def _make_tables(self) -> _Tables:
        catalogue, model = self.catalogue, self.model
        rows = np.flatnonzero(catalogue.available)
        rows = rows[np.argsort(catalogue.hashes[rows])]  # columns in an order that no worker's reading order changes
        position = np.full(len(catalogue), -1, np.int64)
        position[rows] = np.arange(len(rows))
        vectors = self._product_vectors()
        chosen = vectors[torch.from_numpy(rows).to(self.device)]
        static = model.product_layer(chosen) + (self._constant if model.config.sequence else 0)
        both = catalogue.type[rows].astype(np.int64) << 32 | catalogue.category[rows]
        coded, pair = np.unique(both, return_inverse=True)
        pairs = np.stack([coded >> 32, coded & 0xFFFFFFFF], 1)
        makers, maker = np.unique(catalogue.maker[rows], return_inverse=True)
        return _Tables(
            rows, position, vectors, chosen.T.contiguous(), static,
            pairs, torch.from_numpy(pair.reshape(-1)).to(self.device),
            makers.astype(np.int64), torch.from_numpy(maker.reshape(-1)).to(self.device),
        )  # fmt: skip

    def _product_vectors(self) -> Tensor:
        """Vectors of all products, computed for those that are new or changed only."""
        changed = self.catalogue.changed_since(self._version)
        fresh = self.model.product_vectors(self._tensor(self.catalogue.vectors[changed]))
        kept = self._tables.vectors if self._tables else fresh[:0]
        vectors = torch.empty(len(self.catalogue), fresh.shape[1], device=self.device)
        vectors[: len(kept)] = kept
        vectors[torch.from_numpy(changed).to(self.device)] = fresh
        return vectors

    @torch.inference_mode()
    def _make_daily(self, tables: _Tables) -> Tensor:
        self._popularity = self.popularity.features(self.catalogue.hashes[tables.rows])
        if not self.model.config.sequence:
            return tables.static
        return tables.static + self._tensor(self._popularity) @ self._cross[GLOBAL]

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def sequences(
    states: Sequence[UserState], nows: Sequence[float], catalogue: Catalogue
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Sequences of shoppers for `PPRM.pool`: catalogue rows, ages in days, weights, each [B, MAX_SEQUENCE]."""
    shape = (len(states), MAX_SEQUENCE)
    rows, ages, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, (state, now) in enumerate(zip(states, nows, strict=True)):
        events = state.interactions()
        if not len(events):
            continue
        found, n = catalogue.rows(events["product"]), len(events)
        rows[i, :n] = np.maximum(found, 0)
        ages[i, :n] = np.maximum(now - events["time"].astype(np.float64), 0) / DAY
        weights[i, :n] = _KIND_WEIGHT[events["kind"]] * (found >= 0)
    return rows, ages, weights
