"""Logits of a network with one hidden layer: its first layer added up from parts, in compiled loops.

Of all products (`score`), of some (`score_some`), or of as many blocks of similar products as may hold one of the best
(`bounds` and `best`). H is the hidden layer's width, d the product vector's.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.compiled import compiled
from pprm.features import Groups

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SLACK = np.float32(1e-4)
"""By so much a bound may be too low: sums are added up in another order."""


class Weights(NamedTuple):
    """Of the network."""

    shares: Floats
    """Of the product's share of its type, and of the type's of its category, [2, H]."""
    match: Floats
    """Of the dot products with the shopper's queries, [3, H]."""
    maker: Floats
    """Of a maker's cross features, [2, H]."""
    output: Floats
    """[H]"""
    bias: Floats
    """[1]"""


class Shopper(NamedTuple):
    """A shopper's parts of the first layer: the rows of `groups` times their weights, and what is the same for all."""

    groups: Groups
    user: Floats
    """[H]"""
    types: Floats
    """[1 + t, H]; likewise the others."""
    categories: Floats
    makers: Floats
    items: Floats
    queries: Floats
    """[3, d]"""


class Products(NamedTuple):
    """The candidates' parts of it, N of them."""

    codes: NDArray[np.int32]
    """Of the catalogue's types, categories and makers, by catalogue row, [all, 3]."""
    rows: Ints
    """Catalogue rows, [N]."""
    position: Ints
    """Candidate of each catalogue row, -1 where it is none, [all]."""
    vectors: Floats
    """Product vectors by catalogue row, [all, d]."""
    daily: Floats
    """[N, H]"""
    pairs: Ints
    """Distinct (type, category) pairs, [P, 2]."""
    pair: Ints
    """Pair of each candidate, [N]."""
    maker: Ints
    """Maker of each candidate, [N]."""


class Blocks(NamedTuple):
    """Like candidates of a pair, some dozens each; b blocks."""

    order: Ints
    """Candidates, block after block, [N]."""
    starts: Ints
    """Where in `order` each begins, [b + 1]."""
    daily: Floats
    """`Products.daily` in that order, so that a block is read at one go, [N, H];"""
    vectors: Floats
    """product vectors, [N, d];"""
    maker: Ints
    """and makers, [N]."""
    pair: Ints
    """Pair of each block, [b]."""
    corner: Floats
    """The most that `daily` of one of its products can do for the logit: per hidden unit the greatest where the
    output's weight is positive, else the smallest, [b, H]."""
    centres: Floats
    """Means of the product vectors, transposed, [d, b]."""
    radius: Floats
    """How far from the mean a product vector is taken to be, [b]."""
    maker_starts: Ints
    """Where in `maker_blocks` those of each maker begin, [makers + 1]."""
    maker_blocks: Ints
    """Blocks that hold a product of a maker, maker after maker."""


@compiled
def score(s: Shopper, p: Products, w: Weights, matches: Floats, out: Floats) -> None:
    """Logits of all candidates, `out` [N]; `matches` [3, N] are the dot products of the queries and the candidates."""
    of_pair, items = _of_pairs(s, p, w), _with_shares(s, p, w)
    for n in range(len(out)):
        maker = s.groups.maker_at[p.maker[n]]
        match = matches[0, n], matches[1, n], matches[2, n]
        out[n] = _logit(p.daily[n], of_pair[p.pair[n]], s.makers[maker], items[0], match, w)
    for i in range(1, len(items)):
        n = p.position[s.groups.rows[i - 1]]
        if n >= 0:
            maker = s.groups.maker_at[p.maker[n]]
            match = matches[0, n], matches[1, n], matches[2, n]
            out[n] = _logit(p.daily[n], of_pair[p.pair[n]], s.makers[maker], items[i], match, w)


@compiled
def score_some(s: Shopper, p: Products, w: Weights, columns: Ints) -> Any:
    """Logits of candidates given by their columns, [len(columns)]."""
    items, out = _with_shares(s, p, w), np.empty(len(columns), np.float32)
    base = np.empty(len(w.output), np.float32)
    for i in range(len(columns)):
        n = columns[i]
        _fill_pair(s, w, p.pairs[p.pair[n]], base)
        maker, item = s.makers[s.groups.maker_at[p.maker[n]]], items[s.groups.product_at[p.rows[n]]]
        out[i] = _logit(p.daily[n], base, maker, item, _matches(s.queries, p.vectors[p.rows[n]]), w)
    return out


@compiled
def bounds(s: Shopper, p: Products, w: Weights, b: Blocks, matches: Floats) -> Any:
    """What no product of a block that the shopper never had exceeds, [b]; `matches` [3, b] are of the centres."""
    width = len(w.output)
    of_pair, spread, makers = _of_pairs(s, p, w), np.empty(width, np.float32), np.empty((2, width), np.float32)
    for h in range(width):  # towards a higher logit: up where the output's weight is positive, else down
        sign = np.float32(1 if w.output[h] > 0 else -1)
        square = np.float32(0)
        for d in range(s.queries.shape[1]):
            x = np.float32(0)
            for k in range(3):
                x += w.match[k, h] * s.queries[k, d]
            square += x * x
        spread[h] = sign * np.sqrt(square)
        for i in range(2):
            makers[i, h] = sign * max(sign * w.maker[i, h], np.float32(0))
    most, out = _most_of_makers(s, p, b), np.empty(len(b.pair), np.float32)
    for j in range(len(out)):
        base, count, decayed = of_pair[b.pair[j]], most[j, 0], most[j, 1]
        total = w.bias[0] + SLACK
        for h in range(width):
            x = b.corner[j, h] + base[h] + b.radius[j] * spread[h] + count * makers[0, h] + decayed * makers[1, h]
            x += matches[0, j] * w.match[0, h] + matches[1, j] * w.match[1, h] + matches[2, j] * w.match[2, h]
            total += max(x, np.float32(0)) * w.output[h]
        out[j] = total
    return out


@compiled
def best(
    s: Shopper, p: Products, w: Weights, b: Blocks, bound: Floats, ranked: Ints, left_out: NDArray[np.bool_], k: int
) -> Any:
    """Columns of the k best candidates but those `left_out` [N], and of equal ones the first, in no order.

    `ranked` are the blocks, those with the highest `bound` first: the rest is not looked at when a bound is too low.
    """
    items, base = _with_shares(s, p, w), np.empty(len(w.output), np.float32)
    columns, logits, held, bar = np.empty(2 * k, np.int64), np.empty(2 * k, np.float32), 0, np.float32(-np.inf)
    for j in ranked:
        if bound[j] < bar:
            break
        _fill_pair(s, w, p.pairs[b.pair[j]], base)
        for i in range(b.starts[j], b.starts[j + 1]):
            maker = s.makers[s.groups.maker_at[b.maker[i]]]
            logit = _logit(b.daily[i], base, maker, items[0], _matches(s.queries, b.vectors[i]), w)
            if logit >= bar and not left_out[b.order[i]]:
                columns[held], logits[held] = b.order[i], logit
                held += 1
            if held == 2 * k:
                first = _first(columns, logits, k)
                columns[:k], logits[:k] = columns[first], logits[first]
                held, bar = k, logits[k - 1]
    return columns[:held][_first(columns[:held], logits[:held], k)]


@compiled
def _first(columns: Ints, logits: Floats, k: int) -> Any:
    """Places of the k highest logits, best first, and of equal ones the lower column."""
    by_column = np.argsort(columns)
    return by_column[np.argsort(-logits[by_column], kind="mergesort")[:k]]


@compiled
def _most_of_makers(s: Shopper, p: Products, b: Blocks) -> Any:
    """The most that a product of each block has of a maker's cross features, [b, 2]; they are never negative."""
    most, done = np.zeros((len(b.pair), 2), np.float32), np.zeros(len(s.groups.maker), np.bool_)
    for row in s.groups.rows:
        maker = p.codes[row, 2]
        at = s.groups.maker_at[maker]
        if not done[at] and maker + 1 < len(b.maker_starts):
            done[at] = True
            for j in b.maker_blocks[b.maker_starts[maker] : b.maker_starts[maker + 1]]:
                most[j, 0] = max(most[j, 0], s.groups.maker[at, 0])
                most[j, 1] = max(most[j, 1], s.groups.maker[at, 1])
    return most


@compiled
def _of_pairs(s: Shopper, p: Products, w: Weights) -> Any:
    """What the products of each pair share, [P, H]."""
    out = np.empty((len(p.pairs), len(w.output)), np.float32)
    for i in range(len(p.pairs)):
        _fill_pair(s, w, p.pairs[i], out[i])
    return out


@compiled
def _fill_pair(s: Shopper, w: Weights, pair: Ints, out: Floats) -> None:
    type_, category = s.groups.type_at[pair[0]], s.groups.category_at[pair[1]]
    share = s.groups.type_count[type_] / max(s.groups.category_count[category], np.float32(1))
    for h in range(len(out)):
        out[h] = s.user[h] + s.types[type_, h] + s.categories[category, h] + share * w.shares[1, h]


@compiled
def _with_shares(s: Shopper, p: Products, w: Weights) -> Any:
    """The products bought with what each is of the purchases of its type, [1 + p, H]."""
    g, out = s.groups, s.items.copy()
    for i in range(1, len(out)):
        share = g.product_count[i] / max(g.type_count[g.type_at[p.codes[g.rows[i - 1], 0]]], np.float32(1))
        for h in range(out.shape[1]):
            out[i, h] += share * w.shares[0, h]
    return out


@compiled
def _matches(queries: Floats, vector: Floats) -> Any:
    """The three dot products."""
    a, b, c = np.float32(0), np.float32(0), np.float32(0)
    for i in range(len(vector)):
        a += queries[0, i] * vector[i]
        b += queries[1, i] * vector[i]
        c += queries[2, i] * vector[i]
    return a, b, c


@compiled
def _logit(daily: Floats, base: Floats, maker: Floats, item: Floats, matches: Any, w: Weights) -> Any:
    """From the parts of the first layer, [H] each, and the three dot products."""
    total, (a, b, c) = np.float32(0), matches
    for h in range(len(w.output)):  # written out: so it becomes vector instructions
        x = daily[h] + base[h] + maker[h] + item[h] + a * w.match[0, h] + b * w.match[1, h] + c * w.match[2, h]
        total += max(x, np.float32(0)) * w.output[h]
    return w.bias[0] + total
