"""Scores the whole catalogue for shoppers, with the first layer factorised.

W [u; b; x] is a sum: a part per product that changes only with the catalogue, a part per product that changes once a
day (popularity), one vector per shopper, and parts that are the same for all products of a type, category or maker.
So only the products bought, and one row per (type, category) pair and per maker, are computed per shopper; the rest
is adding. One thread owns a scorer and its catalogue and popularity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm import features
from pprm.catalogue import Catalogue
from pprm.events import Kind
from pprm.features import CATEGORY, GLOBAL, MAKERS, PRODUCT, SHARE_OF_CATEGORY, SHARE_OF_TYPE, TYPE, Groups
from pprm.model import KIND_WEIGHTS, PPRM
from pprm.popularity import Popularity
from pprm.ranking import Ranking, reasons, top_k
from pprm.user_state import DAY, MAX_SEQUENCE, UserState

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to vectors [n, text_dimensions]."""

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


class Scorer:
    """Scores and ranks; tables are refreshed when the catalogue or the day of the popularity has changed."""

    def __init__(
        self, model: PPRM, catalogue: Catalogue, popularity: Popularity, encode: EncodeTexts, device: torch.device
    ) -> None:
        self.model = model.eval().to(device)
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
        """Logits of all candidates for each shopper at a Unix time, [len(states), N], on the scorer's device.

        Earlier times first, each with the popularity of its own day, so that no batch-mate's day looks into another's.
        """
        tables = self._refresh(0)
        user, queries = self._users(tables, states, nows)
        out = torch.empty(len(states), len(tables.rows), device=self.device)
        for i in np.argsort(nows, kind="stable").tolist():
            self._refresh(nows[i])
            first = self._first_layer(tables, states[i], nows[i], user[i], None if queries is None else queries[i])
            out[i] = self.model.head(first)
        return out

    def recommend(self, states: Sequence[UserState], nows: Sequence[float], k: int) -> list[Ranking]:
        """The k best available products for each shopper; equal scores in the order of hashes."""
        if not states:
            return []
        logits = self.score(states, nows)
        best = top_k(logits, min(k, logits.shape[1]))
        return [self._ranking(state, now, at, v) for state, now, (at, v) in zip(states, nows, best, strict=True)]

    def _ranking(self, state: UserState, now: float, at: NDArray[np.int64], values: NDArray[np.float32]) -> Ranking:
        rows = self.candidates[at]
        cross = features.dense(features.groups(state, self.catalogue, now), self.catalogue, rows, self._popularity[at])
        scores = (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)
        return Ranking(rows, scores, [reasons(row) for row in cross])

    def _first_layer(self, t: _Tables, state: UserState, now: float, user: Tensor, queries: Tensor | None) -> Tensor:
        first, extra = self._buffers
        torch.add(self._daily, user, out=first)
        if queries is None:
            return first
        first.addmm_((queries @ t.candidates).T, self._match)
        g = features.groups(state, self.catalogue, now)
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
