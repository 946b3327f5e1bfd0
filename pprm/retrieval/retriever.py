"""Retrieval: scores of the whole catalogue, with the first layer factorised.

W [u; b; x] is a sum: a part per product that changes only with the catalogue, a part per product
that changes once a day (popularity), one vector per shopper, and parts that are the same for all
products of a type, category or maker. So only the products bought, and one row per (type, category)
pair and per maker, are computed per shopper; the rest is adding: on the CPU in one compiled pass,
shopper by shopper, or, of a large catalogue, through the blocks of products that may hold one of
the best; on a GPU, and for networks of more hidden layers, with torch for the whole micro-batch
(`device_pass`). One thread owns a retriever, its catalogue and its popularity.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.codes import MAKER_CODE
from pprm.catalogue.popularity import Popularity
from pprm.core.arrays import Floats
from pprm.core.events import ACTS
from pprm.retrieval import blocks, device_input, features, first_layer
from pprm.retrieval.candidates import LOOKED, NEW, Candidates, choose, popular_from
from pprm.retrieval.device_input import Items
from pprm.retrieval.device_pass import DevicePass, precision
from pprm.retrieval.features import GLOBAL, POPULARITY, Groups
from pprm.retrieval.first_layer import Blocks, ProductParts, ShopperParts, Weights
from pprm.retrieval.model import KIND_WEIGHTS, PPRM
from pprm.state.user_state import DAY, MAX_SEQUENCE, UserState

EncodeTexts = Callable[[Sequence[str]], Floats]
"""Texts to vectors [n, text_dimensions]."""

LARGE = 30_000
"""Candidates above which blocks are looked through: below, scoring all takes less than 2 ms."""

_KIND_WEIGHT = np.array([KIND_WEIGHTS[kind] for kind in ACTS], np.float32)


@dataclass(frozen=True, slots=True)
class CandidateTables:
    """What does not depend on the shopper, for the N candidates. H is the first hidden width."""

    rows: NDArray[np.int64]
    """Catalogue rows of the candidates, in the order of their hashes, [N]."""
    position: NDArray[np.int64]
    """Candidate of each catalogue row, -1 where it is none."""
    vectors: Tensor
    """Product vectors of all rows of the catalogue, [all, d]."""
    static: Tensor
    """Wb b + b1 + the standardisation's constant, [N, H]."""
    pairs: NDArray[np.int64]
    """Distinct (type, category) pairs of the candidates, [P, 2]."""
    pair: NDArray[np.int64]
    """Pair of each candidate, [N]."""


class Retrieved(NamedTuple):
    """Ranking's candidates for a shopper, K of them."""

    columns: NDArray[np.int64]
    """Among `Retriever.candidates`, ascending."""
    candidates: Candidates
    seen: NDArray[np.bool_]
    """Which the shopper bought before."""


class _Read(NamedTuple):
    """What the network reads of B shoppers, whatever the product; see `ShopperInput`."""

    text: Floats
    scalars: Floats
    rows: NDArray[np.int64]
    ages: Floats
    weights: Floats


class Retriever:
    """Scores the catalogue; its tables are made anew when the catalogue or the day has changed."""

    def __init__(
        self,
        model: PPRM,
        catalogue: Catalogue,
        popularity: Popularity,
        encode: EncodeTexts,
        device: torch.device,
    ) -> None:
        self.model = model.eval().to(device)
        self.catalogue, self.popularity, self.encode, self.device = (
            catalogue,
            popularity,
            encode,
            device,
        )
        self._version, self._day = -1, -1
        self._tables: CandidateTables | None = None
        self._daily = torch.zeros(0)
        self.large = LARGE
        """As `LARGE`; read when the tables are made."""
        is_compiled = device.type == "cpu" and model.is_light
        self._pass = None if is_compiled else DevicePass(self.model, device, precision(device))
        self._products: ProductParts
        self._blocks: Blocks | None = None
        self.not_finite = 0
        """Products and scores so far that were left out because they were no finite numbers."""
        # zeros, of all candidates; what the rules leave out is marked for a moment
        self._bar = np.zeros(0, np.float32)
        self.daily_popularity = np.zeros((0, len(POPULARITY)), np.float32)
        """Popularity features of the candidates on the day of the last shopper, [N, 4]."""
        self.popular = np.inf
        """The week's sales, as a feature, from which a candidate is popular on that day."""
        if model.cross_layer is not None:
            self._cross, match, self._constant = model.cross_weights()
        if is_compiled:
            assert model.log_pool_days is not None
            parts = (
                model.user_layer.weight, model.user_layer.bias, model.log_pool_days.exp(),
                torch.stack([*model.match]),
                self._cross, match, model.output.weight[0], model.output.bias,
            )  # fmt: skip
            self._weights = Weights(*(part.detach().contiguous().numpy() for part in parts))

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Catalogue rows that are scored, [N].

        In the order of their hashes, the same in every worker.
        """
        return self._refresh(0).rows

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these catalogue rows (-1: unknown) are candidates, as places among these."""
        found = self._refresh(0).position[rows[rows >= 0]]
        return found[found >= 0]

    @torch.inference_mode()
    def score(
        self, states: Sequence[UserState], nows: Sequence[float]
    ) -> Iterator[tuple[int, Floats, Groups]]:
        """Yield a shopper's index, logits of all candidates [N], and cross features behind them.

        Earlier times come first, each with the popularity of its own day, so that no shopper's day
        looks into a later one.
        """
        if self._pass is not None:
            read = self._read(states, nows)
            for some, groups in self._by_day(states, nows):
                scored = self._pass.logits(self._given(states, some, groups, read))
                for i, (given, logits) in zip(some, scored, strict=True):
                    yield i, self._finite(logits), given.groups
            return
        for some, groups, user, queries in self._days(states, nows):
            for i, g, mine, query in zip(some, groups, user, queries, strict=True):
                yield i, self._score(self._shopper(g, mine, query)), g

    @torch.inference_mode()
    def retrieve(
        self,
        states: Sequence[UserState],
        nows: Sequence[float],
        excluded: Sequence[NDArray[np.int64]],
    ) -> Iterator[tuple[int, Retrieved]]:
        """Yield a shopper's index and candidates, without the `excluded` rows of each.

        The order is that of `score`; -1 in `excluded` is nothing. Of a large catalogue only those
        blocks are scored that may hold one of the best: the candidates are the same, in all lists
        that were measured (ADR 12).
        """
        if self._pass is not None:
            read = self._read(states, nows)
            for some, groups in self._by_day(states, nows):
                chosen = self._pass.choose(self._given(states, some, groups, read, excluded))
                for i, (given, (at, logits)) in zip(some, chosen, strict=True):
                    rows, g = self.candidates[at], given.groups
                    yield i, Retrieved(at, Candidates(rows, logits, g), g.product_at[rows] > 0)
            return
        for some, groups, user, queries in self._days(states, nows):
            for i, g, mine, query in zip(some, groups, user, queries, strict=True):
                yield i, self._retrieve(states[i], self._shopper(g, mine, query), excluded[i])

    def _retrieve(
        self, state: UserState, shopper: ShopperParts, excluded: NDArray[np.int64]
    ) -> Retrieved:
        if self._blocks is not None:
            return self._find_in_blocks(state, shopper, self._blocks, excluded)
        logits = self._score(shopper)
        logits[self.columns(excluded)] = -np.inf
        return self.find(state, logits, shopper.groups)

    def _score(self, shopper: ShopperParts) -> Floats:
        return self._finite(first_layer.score(shopper, self._products, self._weights))

    def _finite(self, logits: Floats) -> Floats:
        """Return the logits with -inf, which is no candidate, for those that are not finite."""
        wrong = ~np.isfinite(logits)
        if wrong.any():
            self.not_finite += int(wrong.sum())
            logits[wrong] = -np.inf
        return logits

    def find(self, state: UserState, logits: Floats, groups: Groups) -> Retrieved:
        """Return ranking's candidates from the logits of all products [N]; -inf is none."""
        seen = np.zeros(len(logits), bool)
        seen[self.columns(groups.rows)] = True
        return self._found(np.arange(len(logits)), logits, seen, self._looked_at(state), groups)

    def _find_in_blocks(
        self,
        state: UserState,
        shopper: ShopperParts,
        block_parts: Blocks,
        excluded: NDArray[np.int64],
    ) -> Retrieved:
        """Find what is new to the shopper from the blocks, and the rest one by one.

        The rest is what was bought or looked at. See `find`.
        """
        products, net, looked = self._products, self._weights, self._looked_at(state)[:LOOKED]
        bought, gone = np.zeros((2, len(products.rows)), bool)
        mine = self.columns(shopper.groups.rows)
        bought[mine], gone[self.columns(excluded)] = True, True
        bounds = first_layer.bounds(
            shopper,
            products,
            net,
            block_parts,
            first_layer.dot_products(shopper.queries, block_parts.centres),
        )
        new = first_layer.best(
            shopper, products, net, block_parts, bounds, np.argsort(-bounds), bought | gone, NEW
        )
        columns = np.sort(np.concatenate([new, mine, looked]))
        columns = columns[np.diff(columns, prepend=-1).astype(bool) & ~gone[columns]]
        places = np.searchsorted(columns, looked[~gone[looked]])
        logits = first_layer.score_some(shopper, products, net, columns)
        return self._found(columns, logits, bought[columns], places, shopper.groups)

    def _found(
        self,
        columns: NDArray[np.int64],
        logits: Floats,
        seen: NDArray[np.bool_],
        looked: NDArray[np.int64],
        groups: Groups,
    ) -> Retrieved:
        """Return the candidates among columns with logits.

        `looked` are places among the columns.
        """
        at = choose(logits, seen, looked)
        at = at[np.isfinite(logits[at])]
        return Retrieved(
            columns[at], Candidates(self.candidates[columns[at]], logits[at], groups), seen[at]
        )

    def _looked_at(self, state: UserState) -> NDArray[np.int64]:
        """Return the columns of what the shopper looked at, the newest look first."""
        keys, looks = state.looked_at()
        return self.columns(
            self.catalogue.rows(keys[np.argsort(-looks["last"].astype(np.int64), kind="stable")])
        )

    def _by_day(
        self, states: Sequence[UserState], nows: Sequence[float]
    ) -> Iterator[tuple[list[int], Iterator[Groups]]]:
        """Yield the shoppers of each day by index, and their cross features one by one.

        Popularity is then that of the day.
        """
        order = np.argsort(nows, kind="stable").tolist()
        for _, same_day in groupby(order, lambda i: nows[i] // DAY):
            some = list(same_day)
            self._refresh(nows[some[0]])
            yield some, (features.groups(states[i], self.catalogue, nows[i]) for i in some)

    def _days(
        self, states: Sequence[UserState], nows: Sequence[float]
    ) -> Iterator[tuple[list[int], Iterator[Groups], Floats, Floats]]:
        """Yield what `_by_day` yields, and the shoppers' `first_layer.shopper_part`."""
        vectors = self._refresh(0).vectors.numpy()
        user, queries = first_layer.shopper_part(self._weights, vectors, *self._read(states, nows))
        for some, groups in self._by_day(states, nows):
            yield some, groups, user[some], queries[some]

    def _read(self, states: Sequence[UserState], nows: Sequence[float]) -> _Read:
        text = self.encode([state.text.decode() for state in states])
        scalars = np.stack(
            [features.scalars(state, now) for state, now in zip(states, nows, strict=True)]
        )
        return _Read(text, scalars, *sequences(states, nows, self.catalogue))

    def _shopper(self, groups: Groups, user: Floats, query: Floats) -> ShopperParts:
        types, categories, makers, items = first_layer.parts(groups, self._weights)
        return ShopperParts(groups, user, types, categories, makers, items, query)

    def _given(
        self,
        states: Sequence[UserState],
        some: list[int],
        groups: Iterable[Groups],
        read: _Read,
        excluded: Sequence[NDArray[np.int64]] | None = None,
    ) -> Iterator[device_input.ShopperInput]:
        """Yield some of a micro-batch, as the device takes them, one by one.

        It computes while the next ones are made.
        """
        return (
            device_input.ShopperInput(
                read.text[i], read.scalars[i], read.rows[i], read.ages[i], read.weights[i], g,
                *self._items(states[i], g, excluded[i] if excluded else np.zeros(0, np.int64)),
            )
            for i, g in zip(some, groups, strict=True)
        )  # fmt: skip

    def _items(
        self, state: UserState, groups: Groups, excluded: NDArray[np.int64]
    ) -> tuple[Items, Items]:
        """Candidates that the shopper bought or must not get, and those that they looked at."""
        known = np.concatenate([groups.product, _share_of_type(groups, self.catalogue)[:, None]], 1)
        left_out, bar = self.columns(excluded), self._bar
        bar[left_out] = -np.inf
        mine = np.unique(np.concatenate([self.columns(groups.rows), left_out]))
        looked = self._looked_at(state)[:LOOKED]
        both = [
            Items(at, known[groups.product_at[self.candidates[at]]], bar[at])
            for at in (mine, looked)
        ]
        bar[left_out] = 0
        return both[0], both[1]

    def _refresh(self, now: float) -> CandidateTables:
        changed = self._version != self.catalogue.version
        if changed or self._tables is None:
            self._tables = self._make_tables()
            self._version = self.catalogue.version
        if self.popularity.advance(now) or changed or self._day != self.popularity.changes:
            self._daily = self._make_daily(self._tables)
            self._day = self.popularity.changes
            self._lay_out(self._tables)
        return self._tables

    def _lay_out(self, tables: CandidateTables) -> None:
        """Lay the tables out for the compiled loops, or load them onto the device."""
        if self._pass is not None:
            catalogue, self._bar = self.catalogue, np.zeros(len(tables.rows), np.float32)
            self._pass.load(
                tables.vectors,
                tables.rows,
                catalogue.codes[tables.rows],
                self._daily,
                catalogue.sizes,
            )
            return
        self._products = self._in_order(tables)
        self._blocks = (
            blocks.make(self._products, self._weights) if len(tables.rows) > self.large else None
        )

    def _in_order(self, tables: CandidateTables) -> ProductParts:
        """Return the candidates in the order in which the compiled loops read them."""
        codes, daily = self.catalogue.codes, self._daily.numpy()
        columns = blocks.order(tables.pair, daily @ self._weights.output)
        rows, pair, places = tables.rows[columns], tables.pair[columns], np.empty_like(columns)
        position, places[columns] = np.full(len(codes), -1), np.arange(len(columns))
        position[rows] = np.arange(len(columns))
        vectors = tables.vectors[self._index(rows)].numpy()
        return ProductParts(
            codes, position, rows, columns, places, self._daily[self._index(columns)].numpy(),
            vectors,
            first_layer.across(vectors), codes[rows, MAKER_CODE].astype(np.int64),
            tables.pairs, pair,
            np.searchsorted(pair, np.arange(len(tables.pairs) + 1)),
        )  # fmt: skip

    @torch.inference_mode()
    def _make_tables(self) -> CandidateTables:
        catalogue, model = self.catalogue, self.model
        vectors = self._product_vectors()
        rows = np.flatnonzero(catalogue.available)
        # columns in an order that no worker's reading order changes
        rows = rows[np.argsort(catalogue.hashes[rows])]
        position = np.full(len(catalogue), -1, np.int64)
        position[rows] = np.arange(len(rows))
        chosen = vectors[self._index(rows)]
        static = model.product_layer(chosen) + (self._constant if model.config.sequence else 0)
        both = catalogue.type[rows].astype(np.int64) << 32 | catalogue.category[rows]
        coded, pair = np.unique(both, return_inverse=True)
        return CandidateTables(
            rows, position, vectors, static,
            np.stack([coded >> 32, coded & 0xFFFFFFFF], 1), pair.reshape(-1),
        )  # fmt: skip

    def _product_vectors(self) -> Tensor:
        """Vectors of all products, computed for those that are new or changed only."""
        changed = self.catalogue.changed_since(self._version)
        fresh = self.model.product_vectors(self._tensor(self.catalogue.vectors[changed]))
        wrong = ~fresh.isfinite().all(1)
        self.not_finite += int(wrong.sum())
        # as one without a text: in a shopper's sequence it would spoil all of their scores
        fresh[wrong] = 0
        kept = self._tables.vectors if self._tables else fresh[:0]
        vectors = torch.empty(len(self.catalogue), fresh.shape[1], device=self.device)
        vectors[: len(kept)] = kept
        vectors[self._index(changed)] = fresh
        return vectors

    @torch.inference_mode()
    def _make_daily(self, tables: CandidateTables) -> Tensor:
        self.daily_popularity = self.popularity.features(self.catalogue.hashes[tables.rows])
        self.popular = popular_from(self.daily_popularity[:, POPULARITY.index("week")])
        if not self.model.config.sequence:
            return tables.static
        return tables.static + self._tensor(self.daily_popularity) @ self._cross[GLOBAL]

    def _tensor(self, array: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _index(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _share_of_type(groups: Groups, catalogue: Catalogue) -> Floats:
    """What each product bought is of the purchases of its type, [1 + p]."""
    of_type = np.r_[1.0, groups.type_count[groups.type_at[catalogue.type[groups.rows]]]]
    share: Floats = (groups.product_count / np.maximum(of_type, 1)).astype(np.float32)
    return share


def sequences(
    states: Sequence[UserState], nows: Sequence[float], catalogue: Catalogue
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return sequences of shoppers for `PPRM.pool`.

    They are catalogue rows, ages in days, and weights, each [B, MAX_SEQUENCE].
    """
    shape = (len(states), MAX_SEQUENCE)
    rows, ages, weights = (
        np.zeros(shape, np.int64),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    for i, (state, now) in enumerate(zip(states, nows, strict=True)):
        events = state.interactions()
        if not len(events):
            continue
        found, n = catalogue.rows(events["product"]), len(events)
        rows[i, :n] = np.maximum(found, 0)
        ages[i, :n] = np.maximum(now - events["time"].astype(np.float64), 0) / DAY
        weights[i, :n] = _KIND_WEIGHT[events["kind"]] * (found >= 0)
    return rows, ages, weights
