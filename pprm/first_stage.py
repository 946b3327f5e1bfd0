"""The first stage: scores of the whole catalogue, with the first layer factorised.

W [u; b; x] is a sum: a part per product that changes only with the catalogue, a part per product that changes once a
day (popularity), one vector per shopper, and parts that are the same for all products of a type, category or maker.
So only the products bought, and one row per (type, category) pair and per maker, are computed per shopper; the rest
is adding: on the CPU in one compiled pass, shopper by shopper, or, of a large catalogue, through the blocks of products
that may hold one of the best; on a GPU, and for networks of more hidden layers, with torch for the whole micro-batch.
One thread owns a first stage, its catalogue and its popularity.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm import blocks, features, first_layer
from pprm.candidate_features import Candidates
from pprm.catalogue import Catalogue
from pprm.events import Kind
from pprm.features import CATEGORY, GLOBAL, MAKERS, PRODUCT, SHARE_OF_CATEGORY, SHARE_OF_TYPE, TYPE, Groups
from pprm.first_layer import Blocks, Products, Shopper, Weights
from pprm.model import KIND_WEIGHTS, PPRM
from pprm.popularity import Popularity
from pprm.second_stage import LOOKED, NEW, choose
from pprm.user_state import DAY, MAX_SEQUENCE, UserState

Floats = NDArray[np.float32]
EncodeTexts = Callable[[Sequence[str]], Floats]
"""Texts to vectors [n, text_dimensions]."""

LARGE = 30_000
"""Candidates above which blocks are looked through: below, scoring all takes less than 2 ms."""
MOST_AT_ONCE = 1 << 26
"""Numbers in the first layer's output of one call to torch: 256 MB."""

_KIND_WEIGHT = np.array([KIND_WEIGHTS[kind] for kind in Kind], np.float32)


@dataclass(frozen=True, slots=True)
class Tables:
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
    pair: NDArray[np.int64]
    """Pair of each candidate, [N]."""
    maker: NDArray[np.int64]
    """Maker of each candidate, [N]."""


class Found(NamedTuple):
    """The second stage's candidates for a shopper, K of them."""

    columns: NDArray[np.int64]
    """Among `FirstStage.candidates`, ascending."""
    candidates: Candidates
    seen: NDArray[np.bool_]
    """Which the shopper bought before."""


class FirstStage:
    """Scores; tables are refreshed when the catalogue or the day of the popularity has changed."""

    def __init__(
        self, model: PPRM, catalogue: Catalogue, popularity: Popularity, encode: EncodeTexts, device: torch.device
    ) -> None:
        self.model = model.eval().to(device)
        self.catalogue, self.popularity, self.encode, self.device = catalogue, popularity, encode, device
        self._version, self._day = -1, -1
        self._tables: Tables | None = None
        self._daily = torch.zeros(0)
        self.large = LARGE
        """See there; read when tables are made."""
        self._is_compiled = device.type == "cpu" and model.is_light
        self._products: Products
        self._blocks: Blocks | None = None
        self.daily_popularity = np.zeros((0, 4), np.float32)
        """Popularity features of the candidates on the day of the last shopper, [N, 4]."""
        if model.cross_layer is not None:
            weight = model.cross_layer.weight.detach()
            scaled = weight[:, : len(features.CROSS)] / model.cross_scale
            self._cross = scaled.T.contiguous()
            self._match = weight[:, len(features.CROSS) :].T.contiguous()
            shares, output = scaled.T[SHARE_OF_TYPE : SHARE_OF_CATEGORY + 1], model.output
            parts = (shares, self._match, scaled.T[MAKERS], output.weight[0], output.bias)
            self._weights = Weights(*(part.detach().cpu().contiguous().numpy() for part in parts))
            self._constant = -(model.cross_mean / model.cross_scale) @ weight[:, : len(features.CROSS)].T

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Catalogue rows that are scored, [N]: in the order of their hashes, the same in every worker."""
        return self._refresh(0).rows

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these catalogue rows (-1: unknown) are candidates, as places among these."""
        found = self._refresh(0).position[rows[rows >= 0]]
        return found[found >= 0]

    @torch.inference_mode()
    def score(self, states: Sequence[UserState], nows: Sequence[float]) -> Iterator[tuple[int, Floats, Groups]]:
        """Index of a shopper, the logits of all candidates [N], and the cross features that these were made from.

        Earlier times first, each with the popularity of its own day, so that no batch-mate's day looks into another's.
        """
        for shoppers, groups, user, queries in self._days(states, nows):
            yield from zip(shoppers, self._logits(self._refresh(0), groups, user, queries), groups, strict=True)

    @torch.inference_mode()
    def retrieve(
        self, states: Sequence[UserState], nows: Sequence[float], excluded: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[int, Found]]:
        """Index of a shopper, and the second stage's candidates, without the catalogue rows `excluded` for each.

        In the order of `score`; -1 in `excluded` is nothing. Of a large catalogue only those blocks are scored that may
        hold one of the best: the candidates are the same, in all lists that were measured (ADR 12).
        """
        for shoppers, groups, user, queries in self._days(states, nows):
            if self._blocks is not None and queries is not None:
                for i, g, mine, query in zip(shoppers, groups, user, queries, strict=True):
                    yield i, self._find_in_blocks(states[i], self._shopper(g, mine, query), self._blocks, excluded[i])
                continue
            every = self._logits(self._refresh(0), groups, user, queries)
            for i, g, logits in zip(shoppers, groups, every, strict=True):
                logits = logits.copy()
                logits[self.columns(excluded[i])] = -np.inf
                yield i, self.find(states[i], logits, g)

    def find(self, state: UserState, logits: Floats, groups: Groups) -> Found:
        """The second stage's candidates, by the logits of all candidates [N]; -inf is none."""
        seen = np.zeros(len(logits), bool)
        seen[self.columns(groups.rows)] = True
        return self._found(np.arange(len(logits)), logits, seen, self._looked_at(state), groups)

    def _find_in_blocks(self, state: UserState, s: Shopper, b: Blocks, excluded: NDArray[np.int64]) -> Found:
        """As `find`: what is new to the shopper from the blocks; what is not, and what was looked at, one by one."""
        p, w, looked = self._products, self._weights, self._looked_at(state)[:LOOKED]
        bought, gone = np.zeros((2, len(p.rows)), bool)
        mine = self.columns(s.groups.rows)
        bought[mine], gone[self.columns(excluded)] = True, True
        bounds = first_layer.bounds(s, p, w, b, (torch.from_numpy(s.queries) @ torch.from_numpy(b.centres)).numpy())
        new = first_layer.best(s, p, w, b, bounds, np.argsort(-bounds), bought | gone, NEW)
        columns = np.sort(np.concatenate([new, mine, looked]))
        columns = columns[np.diff(columns, prepend=-1).astype(bool) & ~gone[columns]]
        places = np.searchsorted(columns, looked[~gone[looked]])
        logits = first_layer.score_some(s, p, w, columns)
        return self._found(columns, logits, bought[columns], places, s.groups)

    def _found(
        self,
        columns: NDArray[np.int64],
        logits: Floats,
        seen: NDArray[np.bool_],
        looked: NDArray[np.int64],
        groups: Groups,
    ) -> Found:
        """Of columns with their logits, ascending; `looked` are places among them."""
        at = choose(logits, seen, looked)
        at = at[np.isfinite(logits[at])]
        return Found(columns[at], Candidates(self.candidates[columns[at]], logits[at], groups), seen[at])

    def _looked_at(self, state: UserState) -> NDArray[np.int64]:
        """Columns, the newest look first."""
        keys, looks = state.looked_at()
        return self.columns(self.catalogue.rows(keys[np.argsort(-looks["last"].astype(np.int64), kind="stable")]))

    def _days(
        self, states: Sequence[UserState], nows: Sequence[float]
    ) -> Iterator[tuple[list[int], list[Groups], Tensor, Tensor | None]]:
        """Indices of the shoppers of each day, their cross features, and their parts as `_users` gives them."""
        user, queries = self._users(self._refresh(0), states, nows)
        order = np.argsort(nows, kind="stable").tolist()
        for _, same_day in groupby(order, lambda i: nows[i] // DAY):
            shoppers = list(same_day)
            self._refresh(nows[shoppers[0]])
            groups = [features.groups(states[i], self.catalogue, nows[i]) for i in shoppers]
            yield shoppers, groups, user[shoppers], None if queries is None else queries[shoppers]

    def _logits(self, t: Tables, groups: Sequence[Groups], user: Tensor, queries: Tensor | None) -> Iterator[Floats]:
        if queries is not None and self._is_compiled:
            for g, mine, query in zip(groups, user, queries, strict=True):
                logits = np.empty(len(t.rows), np.float32)
                matches = (query @ t.candidates).numpy()
                first_layer.score(self._shopper(g, mine, query), self._products, self._weights, matches, logits)
                yield logits
            return
        at_once = max(MOST_AT_ONCE // max(self._daily.numel(), 1), 1)
        for start in range(0, len(groups), at_once):
            some = slice(start, start + at_once)
            first = self._first_layer(t, groups[some], user[some], None if queries is None else queries[some])
            yield from self.model.head(first).cpu().numpy()

    def _shopper(self, g: Groups, user: Tensor, query: Tensor) -> Shopper:
        cross = self._cross
        return Shopper(
            g, user.numpy(), _times(g.type, cross[TYPE]), _times(g.category, cross[CATEGORY]),
            _times(g.maker, cross[MAKERS]), _times(g.product, cross[PRODUCT]), query.numpy(),
        )  # fmt: skip

    def _first_layer(self, t: Tables, groups: Sequence[Groups], user: Tensor, queries: Tensor | None) -> Tensor:
        """What goes into the first layer's ReLU, [B, N, H]."""
        first = self._daily + user[:, None]
        if queries is None:
            return first
        first += (queries @ t.candidates).transpose(1, 2) @ self._match
        pairs = torch.cat([self._cross[TYPE], self._cross[CATEGORY], self._cross[SHARE_OF_CATEGORY][None]])
        first += (self._tensor(np.stack([_of_pairs(g, t.pairs) for g in groups])) @ pairs)[:, self._index(t.pair)]
        makers = self._tensor(np.stack([g.maker[g.maker_at] for g in groups]))
        first += (makers @ self._cross[MAKERS])[:, self._index(t.maker)]
        for number, g in enumerate(groups):
            at = t.position[g.rows]
            items = np.concatenate([g.product, _share_of_type(g, self.catalogue)[:, None]], 1)[1:][at >= 0]
            weights = torch.cat([self._cross[PRODUCT], self._cross[SHARE_OF_TYPE][None]])
            first[number].index_add_(0, self._index(at[at >= 0]), self._tensor(items) @ weights)
        return first

    def _users(self, t: Tables, states: Sequence[UserState], nows: Sequence[float]) -> tuple[Tensor, Tensor | None]:
        text = self._tensor(self.encode([state.text.decode() for state in states]))
        if not self.model.config.sequence:
            return self.model.user_part(text, text, None), None
        scalars = self._tensor(np.stack([features.scalars(s, now) for s, now in zip(states, nows, strict=True)]))
        rows, ages, weights = sequences(states, nows, self.catalogue)
        pooled = self.model.pool(t.vectors[self._index(rows)], self._tensor(ages), self._tensor(weights))
        return self.model.user_part(text, scalars, pooled), self.model.queries(pooled)

    def _refresh(self, now: float) -> Tables:
        changed = self._version != self.catalogue.version
        if changed or self._tables is None:
            self._tables = self._make_tables()
            self._version = self.catalogue.version
        if self.popularity.advance(now) or changed or self._day != self.popularity.changes:
            self._daily = self._make_daily(self._tables)
            self._day = self.popularity.changes
            if self._is_compiled:
                self._lay_out(self._tables)
        return self._tables

    def _lay_out(self, t: Tables) -> None:
        """What the compiled loops read."""
        self._products = Products(
            self.catalogue.codes, t.rows, t.position, t.vectors.numpy(), self._daily.numpy(), t.pairs, t.pair, t.maker
        )
        self._blocks = blocks.make(self._products, self._weights) if len(t.rows) > self.large else None

    @torch.inference_mode()
    def _make_tables(self) -> Tables:
        catalogue, model = self.catalogue, self.model
        rows = np.flatnonzero(catalogue.available)
        rows = rows[np.argsort(catalogue.hashes[rows])]  # columns in an order that no worker's reading order changes
        position = np.full(len(catalogue), -1, np.int64)
        position[rows] = np.arange(len(rows))
        vectors = self._product_vectors()
        chosen = vectors[self._index(rows)]
        static = model.product_layer(chosen) + (self._constant if model.config.sequence else 0)
        both = catalogue.type[rows].astype(np.int64) << 32 | catalogue.category[rows]
        coded, pair = np.unique(both, return_inverse=True)
        return Tables(
            rows, position, vectors, chosen.T.contiguous(), static,
            np.stack([coded >> 32, coded & 0xFFFFFFFF], 1), pair.reshape(-1), catalogue.maker[rows].astype(np.int64),
        )  # fmt: skip

    def _product_vectors(self) -> Tensor:
        """Vectors of all products, computed for those that are new or changed only."""
        changed = self.catalogue.changed_since(self._version)
        fresh = self.model.product_vectors(self._tensor(self.catalogue.vectors[changed]))
        kept = self._tables.vectors if self._tables else fresh[:0]
        vectors = torch.empty(len(self.catalogue), fresh.shape[1], device=self.device)
        vectors[: len(kept)] = kept
        vectors[self._index(changed)] = fresh
        return vectors

    @torch.inference_mode()
    def _make_daily(self, tables: Tables) -> Tensor:
        self.daily_popularity = self.popularity.features(self.catalogue.hashes[tables.rows])
        if not self.model.config.sequence:
            return tables.static
        return tables.static + self._tensor(self.daily_popularity) @ self._cross[GLOBAL]

    def _tensor(self, array: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _index(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _times(rows: Floats, weights: Tensor) -> Floats:
    part: Floats = (torch.from_numpy(rows) @ weights).numpy()
    return part


def _of_pairs(g: Groups, pairs: NDArray[np.int64]) -> Floats:
    """Rows of type and category, and the type's share of the category, [P, 19]."""
    type_, category = g.type_at[pairs[:, 0]], g.category_at[pairs[:, 1]]
    share = g.type_count[type_] / np.maximum(g.category_count[category], 1)
    return np.concatenate([g.type[type_], g.category[category], share[:, None]], 1)


def _share_of_type(g: Groups, catalogue: Catalogue) -> Floats:
    """What each product bought is of the purchases of its type, [1 + p]."""
    of_type = np.r_[1.0, g.type_count[g.type_at[catalogue.type[g.rows]]]]
    share: Floats = (g.product_count / np.maximum(of_type, 1)).astype(np.float32)
    return share


def sequences(
    states: Sequence[UserState], nows: Sequence[float], catalogue: Catalogue
) -> tuple[NDArray[np.int64], Floats, Floats]:
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
