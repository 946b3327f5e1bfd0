"""Logits of a network with one hidden layer, in compiled loops.

The first layer is added up from parts.

Of all products (`score`), of some (`score_some`), or of as many blocks of similar products as may
hold one of the best (`bounds` and `best`). H is the hidden layer's width, d the product vector's.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled
from pprm.retrieval.features import (
    CATEGORY,
    MAKER,
    MAKERS,
    PRODUCT,
    SHARE_OF_CATEGORY,
    SHARE_OF_TYPE,
    TYPE,
    Groups,
)

Ints = NDArray[np.int64]

_MAKER = len(MAKER)
_COUNT, _DECAYED = MAKER.index("count"), MAKER.index("decay112")
SLACK = np.float32(1e-4)
"""By so much a bound may be too low: sums are added up in another order."""
AT_ONCE = 256
"""Product vectors whose dot products are made at once: so they stay in the nearest cache."""


class Weights(NamedTuple):
    """Of the network."""

    user: Floats
    """Of the shopper's text, scalars and pooled sequence, one behind the other, [H, u];"""
    user_bias: Floats
    """[H]"""
    pool_days: Floats
    """Half-lives of the pooled sequence, [3]."""
    queries: Floats
    """What makes queries of pooled vectors, [3, d, d]."""
    cross: Floats
    """Of the cross features, as `features.CROSS`, [40, H]."""
    match: Floats
    """Of the dot products with the shopper's queries, [3, H]."""
    output: Floats
    """[H]"""
    bias: Floats
    """[1]"""


class ShopperParts(NamedTuple):
    """A shopper's parts of the first layer.

    These are the rows of `groups` times their weights, and what is the same for all products.
    """

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


class ProductParts(NamedTuple):
    """The N candidates' parts of the first layer, those of a (type, category) pair together.

    Places are in this order. Columns are in the order of the hashes.
    """

    codes: NDArray[np.int32]
    """Of the catalogue's types, categories and makers, by catalogue row, [all, 3]."""
    position: Ints
    """Place of each catalogue row, -1 where it is no candidate, [all]."""
    rows: Ints
    """Catalogue row of each place, [N];"""
    columns: Ints
    """and its column."""
    places: Ints
    """Place of each column, [N]."""
    daily: Floats
    """By place, [N, H];"""
    vectors: Floats
    """product vectors, [N, d];"""
    across: Floats
    """and the same as `dot_products` takes them;"""
    maker: Ints
    """and makers, [N]."""
    pairs: Ints
    """Distinct (type, category) pairs, [P, 2]."""
    pair: Ints
    """Pair of each place, ascending, [N]."""
    starts: Ints
    """Place where each pair begins, and the end, [P + 1]."""


class Blocks(NamedTuple):
    """Like candidates of a pair, some dozens each; b blocks."""

    starts: Ints
    """Place where each begins, and the end, [b + 1]."""
    pair: Ints
    """Pair of each block, [b]."""
    corner: Floats
    """Upper bound of `daily` for the logit in each block, per hidden unit, [b, H].

    It is the largest of the block's products where the output's weight is positive, else the
    smallest.
    """
    centres: Floats
    """Means of the product vectors, as `dot_products` takes them."""
    radius: Floats
    """How far from the mean a product vector is taken to be, [b]."""
    maker_starts: Ints
    """Where in `maker_blocks` those of each maker begin, [makers + 1]."""
    maker_blocks: Ints
    """Blocks that hold a product of a maker, maker after maker."""


@compiled
def shopper_part(
    w: Weights,
    vectors: Floats,
    text: Floats,
    scalars: Floats,
    rows: Ints,
    ages: Floats,
    weights: Floats,
) -> Any:
    """As `device_pass.shopper_part`, without torch.

    Shares of the first layer [B, H] and queries [B, 3, d].
    """
    pools, d, _ = w.queries.shape
    user, queries = (
        np.empty((len(text), len(w.user)), np.float32),
        np.empty((len(text), pools, d), np.float32),
    )
    read = np.empty(w.user.shape[1], np.float32)
    pooled = read[text.shape[1] + scalars.shape[1] :].reshape(pools, d)
    for b in range(len(text)):
        read[: text.shape[1]] = text[b]
        read[text.shape[1] : text.shape[1] + scalars.shape[1]] = scalars[b]
        _pool(w.pool_days, vectors, rows[b], ages[b], weights[b], pooled)
        for h in range(len(w.user)):
            total = np.float32(0)
            for i in range(len(read)):
                total += w.user[h, i] * read[i]
            user[b, h] = w.user_bias[h] + total
        for k in range(pools):
            queries[b, k] = 0
            for i in range(d):
                for j in range(d):
                    queries[b, k, j] += pooled[k, i] * w.queries[k, i, j]
    return user, queries


@compiled
def _pool(
    days: Floats, vectors: Floats, rows: Ints, ages: Floats, weights: Floats, out: Floats
) -> None:
    """As `PPRM.pool`, [3, d]."""
    for k in range(len(days)):
        out[k], total = 0, np.float32(0.5)
        for i in range(len(rows)):
            if weights[i] > 0:
                weight = np.float32(2.0 ** (-ages[i] / days[k])) * weights[i]
                total += weight
                for j in range(out.shape[1]):
                    out[k, j] += weight * vectors[rows[i], j]
        for j in range(out.shape[1]):
            out[k, j] /= total


@compiled
def parts(g: Groups, w: Weights) -> Any:
    """`ShopperParts.types`, `categories`, `makers` and `items`."""
    return (
        _times(g.type, w.cross[TYPE.start :]), _times(g.category, w.cross[CATEGORY.start :]),
        _times(g.maker, w.cross[MAKERS.start :]), _times(g.product, w.cross[PRODUCT.start :]),
    )  # fmt: skip


@compiled
def _times(rows: Floats, w: Floats) -> Any:
    """`rows` [n, k] @ the first k of `w` [k + 3 or more, H], four inputs at a time, [n, H].

    The first row is zeros.
    """
    inputs, out = rows.shape[1], np.zeros((len(rows), w.shape[1]), np.float32)
    filled = np.zeros(inputs + 3, np.float32)
    for i in range(1, len(rows)):
        filled[:inputs] = rows[i]
        for k in range(0, inputs, 4):
            a, b, c, d = filled[k], filled[k + 1], filled[k + 2], filled[k + 3]
            for h in range(w.shape[1]):
                out[i, h] += a * w[k, h] + b * w[k + 1, h] + c * w[k + 2, h] + d * w[k + 3, h]
    return out


@compiled
def dot_products(queries: Floats, across: Floats) -> Any:
    """Dot products of the three queries [3, d] with vectors [d or more, n], [3, n].

    What is beyond d is 0.

    Some hundred vectors are taken at a time, and four of their numbers, so that a sum is loaded and
    stored for four products.
    """
    out, q = np.zeros((3, across.shape[1]), np.float32), np.zeros((3, len(across)), np.float32)
    q[:, : queries.shape[1]] = queries
    for start in range(0, across.shape[1], AT_ONCE):
        some = slice(start, min(start + AT_ONCE, across.shape[1]))
        x, y, z = out[0, some], out[1, some], out[2, some]
        for i in range(0, len(across), 4):
            a0, a1, a2, a3 = q[0, i], q[0, i + 1], q[0, i + 2], q[0, i + 3]
            b0, b1, b2, b3 = q[1, i], q[1, i + 1], q[1, i + 2], q[1, i + 3]
            c0, c1, c2, c3 = q[2, i], q[2, i + 1], q[2, i + 2], q[2, i + 3]
            v0, v1, v2, v3 = (
                across[i, some],
                across[i + 1, some],
                across[i + 2, some],
                across[i + 3, some],
            )
            for n in range(len(x)):
                x[n] += a0 * v0[n] + a1 * v1[n] + a2 * v2[n] + a3 * v3[n]
                y[n] += b0 * v0[n] + b1 * v1[n] + b2 * v2[n] + b3 * v3[n]
                z[n] += c0 * v0[n] + c1 * v1[n] + c2 * v2[n] + c3 * v3[n]
    return out


def across(vectors: Floats) -> Floats:
    """Lay vectors [n, d] out as `dot_products` takes them.

    They are transposed, and padded with zeros to a multiple of four.
    """
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % 4))).T)


@compiled
def score(s: ShopperParts, p: ProductParts, w: Weights) -> Any:
    """Logits of all candidates by column, [N]."""
    out, base = np.empty(len(p.rows), np.float32), np.empty_like(w.output)
    _score_new(s, p, w, dot_products(s.queries, p.across), out)
    for row in s.groups.rows:
        n = p.position[row]
        if n >= 0:
            out[p.columns[n]] = _logit_of(s, p, w, n, base)
    return out


@compiled
def _score_new(s: ShopperParts, p: ProductParts, w: Weights, matches: Floats, out: Floats) -> None:
    """Score as if nothing had been bought.

    Two products of a pair are taken at a time: what they share is loaded once.

    Written out, without a slice of any table: so it becomes vector instructions, and nothing else.
    """
    base = np.empty_like(w.output)
    for i in range(len(p.pairs)):
        _fill_pair(s, w, p.pairs[i], base)
        last = p.starts[i + 1] - 1
        for n in range(p.starts[i], last + 1, 2):
            m = min(n + 1, last)
            maker, other = s.groups.maker_at[p.maker[n]], s.groups.maker_at[p.maker[m]]
            a, b, c = matches[0, n], matches[1, n], matches[2, n]
            d, e, f = matches[0, m], matches[1, m], matches[2, m]
            total, another = np.float32(0), np.float32(0)
            for h in range(len(base)):
                u, v, t, weight = w.match[0, h], w.match[1, h], w.match[2, h], w.output[h]
                x = p.daily[n, h] + base[h] + s.makers[maker, h] + a * u + b * v + c * t
                y = p.daily[m, h] + base[h] + s.makers[other, h] + d * u + e * v + f * t
                total += max(x, np.float32(0)) * weight
                another += max(y, np.float32(0)) * weight
            out[p.columns[n]], out[p.columns[m]] = w.bias[0] + total, w.bias[0] + another


@compiled
def score_some(s: ShopperParts, p: ProductParts, w: Weights, columns: Ints) -> Any:
    """Logits of candidates given by their columns, [len(columns)]."""
    out, base = np.empty(len(columns), np.float32), np.empty_like(w.output)
    for i in range(len(columns)):
        out[i] = _logit_of(s, p, w, p.places[columns[i]], base)
    return out


@compiled
def bounds(s: ShopperParts, p: ProductParts, w: Weights, b: Blocks, match: Floats) -> Any:
    """Upper bound of each block's products that the shopper never had, [b].

    `match` [3, b] are of the centres.
    """
    width = len(w.output)
    base, spread, makers = (
        np.empty_like(w.output),
        np.empty(width, np.float32),
        np.empty((_MAKER, width), np.float32),
    )
    # towards a higher logit: up where the output's weight is positive, else down
    for h in range(width):
        sign = np.float32(1 if w.output[h] > 0 else -1)
        square = np.float32(0)
        for d in range(s.queries.shape[1]):
            x = np.float32(0)
            for k in range(3):
                x += w.match[k, h] * s.queries[k, d]
            square += x * x
        spread[h] = sign * np.sqrt(square)
        for i in range(_MAKER):
            makers[i, h] = sign * max(sign * w.cross[MAKERS.start + i, h], np.float32(0))
    most, out = _most_of_makers(s, p, b), np.empty(len(b.pair), np.float32)
    for j in range(len(out)):
        if j == 0 or b.pair[j] != b.pair[j - 1]:
            _fill_pair(s, w, p.pairs[b.pair[j]], base)
        count, decayed = most[j, _COUNT], most[j, _DECAYED]
        total = w.bias[0] + SLACK
        for h in range(width):
            x = (
                b.corner[j, h]
                + base[h]
                + b.radius[j] * spread[h]
                + count * makers[_COUNT, h]
                + decayed * makers[_DECAYED, h]
            )
            x += (
                match[0, j] * w.match[0, h]
                + match[1, j] * w.match[1, h]
                + match[2, j] * w.match[2, h]
            )
            total += max(x, np.float32(0)) * w.output[h]
        out[j] = total
    return out


@compiled
def best(
    s: ShopperParts,
    p: ProductParts,
    w: Weights,
    b: Blocks,
    bound: Floats,
    ranked: Ints,
    left_out: NDArray[np.bool_],
    k: int,
) -> Any:
    """Return columns of the k best candidates that are not `left_out` [N], in no order.

    Of equal ones the first are taken. `ranked` are the blocks, those with the highest `bound`
    first: when a bound is too low, the rest is not looked at.
    """
    base = np.empty_like(w.output)
    columns, logits, held, bar = (
        np.empty(2 * k, np.int64),
        np.empty(2 * k, np.float32),
        0,
        np.float32(-np.inf),
    )
    for j in ranked:
        if bound[j] < bar:
            break
        _fill_pair(s, w, p.pairs[b.pair[j]], base)
        for i in range(b.starts[j], b.starts[j + 1]):
            maker = s.makers[s.groups.maker_at[p.maker[i]]]
            logit = _logit(p.daily[i], base, maker, _matches(s.queries, p.vectors[i]), w)
            if bar <= logit < np.inf and not left_out[p.columns[i]]:
                columns[held], logits[held] = p.columns[i], logit
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
def _most_of_makers(s: ShopperParts, p: ProductParts, b: Blocks) -> Any:
    """Upper bounds of a maker's cross features in each block, as `MAKER`.

    They are never negative.
    """
    most, done = (
        np.zeros((len(b.pair), _MAKER), np.float32),
        np.zeros(len(s.groups.maker), np.bool_),
    )
    for row in s.groups.rows:
        maker = p.codes[row, 2]
        at = s.groups.maker_at[maker]
        if not done[at] and maker + 1 < len(b.maker_starts):
            done[at] = True
            for j in b.maker_blocks[b.maker_starts[maker] : b.maker_starts[maker + 1]]:
                for i in range(_MAKER):
                    most[j, i] = max(most[j, i], s.groups.maker[at, i])
    return most


@compiled
def _fill_pair(s: ShopperParts, w: Weights, pair: Ints, out: Floats) -> None:
    type_, category = s.groups.type_at[pair[0]], s.groups.category_at[pair[1]]
    share = s.groups.type_count[type_] / max(s.groups.category_count[category], np.float32(1))
    for h in range(len(out)):
        out[h] = (
            s.user[h]
            + s.types[type_, h]
            + s.categories[category, h]
            + share * w.cross[SHARE_OF_CATEGORY, h]
        )


@compiled
def _logit_of(s: ShopperParts, p: ProductParts, w: Weights, n: int, base: Floats) -> Any:
    """Logit of the candidate at a place, which the shopper may have bought; `base` [H] is room."""
    g, pair = s.groups, p.pairs[p.pair[n]]
    item = g.product_at[p.rows[n]]
    _fill_pair(s, w, pair, base)
    share = g.product_count[item] / max(g.type_count[g.type_at[pair[0]]], np.float32(1))
    for h in range(len(base)):
        base[h] += s.items[item, h] + share * w.cross[SHARE_OF_TYPE, h]
    return _logit(
        p.daily[n], base, s.makers[g.maker_at[p.maker[n]]], _matches(s.queries, p.vectors[n]), w
    )


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
def _logit(daily: Floats, base: Floats, maker: Floats, matches: Any, w: Weights) -> Any:
    """From the parts of the first layer, [H] each, and the three dot products."""
    total, (a, b, c) = np.float32(0), matches
    for h in range(len(w.output)):  # written out: so it becomes vector instructions
        x = (
            daily[h]
            + base[h]
            + maker[h]
            + a * w.match[0, h]
            + b * w.match[1, h]
            + c * w.match[2, h]
        )
        total += max(x, np.float32(0)) * w.output[h]
    return w.bias[0] + total
