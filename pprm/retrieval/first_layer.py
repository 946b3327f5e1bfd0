"""Logits of a network with one hidden layer, in compiled loops.

The first layer is linear, so it is the sum of a part of the shopper, of the product, of the
product's type, and so on. The parts are made once and only added up here: for all products
(`score`), for some (`score_some`), or for as many blocks of similar products as may hold one of the
best (`bounds` and `best`). H is the hidden layer's width, d the product vector's.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.codes import MAKER_CODE
from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part
from pprm.core.order import ascending, descending
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
"""Added to a bound, since its sums are added up in another order than a logit's."""
AT_ONCE = 256
"""Product vectors whose dot products are made at once: so they stay in the nearest cache."""


class Weights(NamedTuple):
    """Weights of the network."""

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

    These are the rows of `groups` times their weights, and `user`, the same for all products.
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
    """Blocks of similar candidates of one pair, some dozens each; b blocks."""

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
    net: Weights,
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
    pools, d, _ = net.queries.shape
    user, queries = (
        np.empty((len(text), len(net.user)), np.float32),
        np.zeros((len(text), pools, d), np.float32),
    )
    read = np.empty(net.user.shape[1], np.float32)
    t = text.shape[1]
    pooled = read[t + scalars.shape[1] :].reshape(pools, d)
    for b in range(len(text)):
        _copy(text[b], read)
        _copy(scalars[b], read[t:])
        _pool(net.pool_days, vectors, rows[b], ages[b], weights[b], pooled)
        for h in range(len(net.user)):
            total = np.float32(0)
            for i in range(len(read)):
                total += net.user[h, i] * read[i]
            user[b, h] = net.user_bias[h] + total
        for k in range(pools):
            for i in range(d):
                for j in range(d):
                    queries[b, k, j] += pooled[k, i] * net.queries[k, i, j]
    return user, queries


@part
def _copy(numbers: Floats, to: Floats) -> None:
    """Copy to the beginning of `to`; numba compiles no assignment of a slice as fast."""
    for i in range(len(numbers)):
        to[i] = numbers[i]


@part
def _pool(
    days: Floats, vectors: Floats, rows: Ints, ages: Floats, weights: Floats, out: Floats
) -> None:
    """As `PPRM.pool`, [3, d]."""
    for k in range(len(days)):
        total = np.float32(0.5)
        for j in range(out.shape[1]):
            out[k, j] = 0
        for i in range(len(rows)):
            if weights[i] > 0:
                weight = np.float32(2.0 ** (-ages[i] / days[k])) * weights[i]
                total += weight
                for j in range(out.shape[1]):
                    out[k, j] += weight * vectors[rows[i], j]
        for j in range(out.shape[1]):
            out[k, j] /= total


@compiled
def parts(groups: Groups, net: Weights) -> Any:
    """`ShopperParts.types`, `categories`, `makers` and `items`."""
    return (
        _times(groups.type, net.cross[TYPE.start :]),
        _times(groups.category, net.cross[CATEGORY.start :]),
        _times(groups.maker, net.cross[MAKERS.start :]),
        _times(groups.product, net.cross[PRODUCT.start :]),
    )


@part
def _times(rows: Floats, weights: Floats) -> Any:
    """Return `rows` [n, k] @ the first k rows of `weights` [k + 3 or more, H], [n, H].

    Four inputs are taken at a time. The first row of the result is zeros: row 0 stands for what the
    shopper never bought.
    """
    inputs, out = rows.shape[1], np.zeros((len(rows), weights.shape[1]), np.float32)
    filled = np.zeros(inputs + 3, np.float32)
    for i in range(1, len(rows)):
        _copy(rows[i], filled)
        for k in range(0, inputs, 4):
            a, b, c, d = filled[k], filled[k + 1], filled[k + 2], filled[k + 3]
            for h in range(weights.shape[1]):
                out[i, h] += (
                    a * weights[k, h]
                    + b * weights[k + 1, h]
                    + c * weights[k + 2, h]
                    + d * weights[k + 3, h]
                )
    return out


@compiled
def dot_products(queries: Floats, across: Floats) -> Any:
    """Dot products of the three queries [3, d] with vectors [d or more, n], [3, n].

    What is beyond d is 0.

    Some hundred vectors are taken at a time, and four of their numbers, so that a sum is loaded and
    stored for four products.
    """
    out, q = np.zeros((3, across.shape[1]), np.float32), np.zeros((3, len(across)), np.float32)
    for k in range(3):
        _copy(queries[k], q[k])
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
def score(shopper: ShopperParts, products: ProductParts, net: Weights) -> Any:
    """Logits of all candidates by column, [N]."""
    out, base = np.empty(len(products.rows), np.float32), np.empty_like(net.output)
    _score_new(shopper, products, net, dot_products(shopper.queries, products.across), out)
    for row in shopper.groups.rows:
        n = products.position[row]
        if n >= 0:
            out[products.columns[n]] = _logit_of(shopper, products, net, n, base)
    return out


@part
def _score_new(
    shopper: ShopperParts, products: ProductParts, net: Weights, matches: Floats, out: Floats
) -> None:
    """Score as if nothing had been bought.

    Two products of a pair are taken at a time: what they share is loaded once.

    Written out, without a slice of any table: so it becomes vector instructions, and nothing else.
    """
    base, daily, makers = np.empty_like(net.output), products.daily, shopper.makers
    for i in range(len(products.pairs)):
        _fill_pair(shopper, net, products.pairs[i], base)
        last = products.starts[i + 1] - 1
        for n in range(products.starts[i], last + 1, 2):
            m = min(n + 1, last)
            maker = shopper.groups.maker_at[products.maker[n]]
            other = shopper.groups.maker_at[products.maker[m]]
            a, b, c = matches[0, n], matches[1, n], matches[2, n]
            d, e, f = matches[0, m], matches[1, m], matches[2, m]
            total, another = np.float32(0), np.float32(0)
            for h in range(len(base)):
                u, v, t, weight = net.match[0, h], net.match[1, h], net.match[2, h], net.output[h]
                x = daily[n, h] + base[h] + makers[maker, h] + a * u + b * v + c * t
                y = daily[m, h] + base[h] + makers[other, h] + d * u + e * v + f * t
                total += max(x, np.float32(0)) * weight
                another += max(y, np.float32(0)) * weight
            out[products.columns[n]] = net.bias[0] + total
            out[products.columns[m]] = net.bias[0] + another


@compiled
def score_some(shopper: ShopperParts, products: ProductParts, net: Weights, columns: Ints) -> Any:
    """Logits of candidates given by their columns, [len(columns)]."""
    out, base = np.empty(len(columns), np.float32), np.empty_like(net.output)
    for i in range(len(columns)):
        out[i] = _logit_of(shopper, products, net, products.places[columns[i]], base)
    return out


@compiled
def bounds(
    shopper: ShopperParts, products: ProductParts, net: Weights, blocks: Blocks, match: Floats
) -> Any:
    """Upper bound of each block's products that the shopper never had, [b].

    `match` [3, b] are of the centres.
    """
    width = len(net.output)
    base, spread, makers = (
        np.empty_like(net.output),
        np.empty(width, np.float32),
        np.empty((_MAKER, width), np.float32),
    )
    # towards a higher logit: up where the output's weight is positive, else down
    for h in range(width):
        sign = np.float32(1 if net.output[h] > 0 else -1)
        square = np.float32(0)
        for d in range(shopper.queries.shape[1]):
            x = np.float32(0)
            for k in range(3):
                x += net.match[k, h] * shopper.queries[k, d]
            square += x * x
        spread[h] = sign * np.sqrt(square)
        for i in range(_MAKER):
            makers[i, h] = sign * max(sign * net.cross[MAKERS.start + i, h], np.float32(0))
    most, out = _most_of_makers(shopper, products, blocks), np.empty(len(blocks.pair), np.float32)
    for j in range(len(out)):
        if j == 0 or blocks.pair[j] != blocks.pair[j - 1]:
            _fill_pair(shopper, net, products.pairs[blocks.pair[j]], base)
        count, decayed = most[j, _COUNT], most[j, _DECAYED]
        total = net.bias[0] + SLACK
        for h in range(width):
            x = (
                blocks.corner[j, h]
                + base[h]
                + blocks.radius[j] * spread[h]
                + count * makers[_COUNT, h]
                + decayed * makers[_DECAYED, h]
            )
            x += (
                match[0, j] * net.match[0, h]
                + match[1, j] * net.match[1, h]
                + match[2, j] * net.match[2, h]
            )
            total += max(x, np.float32(0)) * net.output[h]
        out[j] = total
    return out


@compiled
def best(
    shopper: ShopperParts,
    products: ProductParts,
    net: Weights,
    blocks: Blocks,
    bound: Floats,
    ranked: Ints,
    left_out: NDArray[np.bool_],
    k: int,
) -> Any:
    """Return columns of the k best candidates that are not `left_out` [N], in no order.

    Of equal ones the first are taken. `ranked` are the blocks, those with the highest `bound`
    first: when a bound is too low, the rest is not looked at.
    """
    base = np.empty_like(net.output)
    columns, logits, held, bar = (
        np.empty(2 * k, np.int64),
        np.empty(2 * k, np.float32),
        0,
        np.float32(-np.inf),
    )
    for j in ranked:
        if bound[j] < bar:  # neither this block nor a later one can hold one of the best
            break
        _fill_pair(shopper, net, products.pairs[blocks.pair[j]], base)
        for i in range(blocks.starts[j], blocks.starts[j + 1]):
            maker = shopper.makers[shopper.groups.maker_at[products.maker[i]]]
            logit = _logit(
                products.daily[i], base, maker, _matches(shopper.queries, products.vectors[i]), net
            )
            if bar <= logit < np.inf and not left_out[products.columns[i]]:
                columns[held], logits[held] = products.columns[i], logit
                held += 1
            # room for 2 k, sorted only when it is full: a candidate costs no insertion
            if held == 2 * k:
                columns, logits = _first(columns, logits, held, k)
                held, bar = k, logits[k - 1]
    columns, logits = _first(columns, logits, held, k)
    return columns[: min(held, k)]


@part
def _first(columns: Ints, logits: Floats, held: int, k: int) -> Any:
    """Of the columns held the k with the highest logits, best first, and of equal ones the lower.

    They and their logits are at the beginning of new arrays, which are as long.
    """
    by_column, mine = ascending(columns[:held]), np.empty(held, np.float32)
    for i in range(held):
        mine[i] = logits[by_column[i]]
    order, first, values = descending(mine), np.empty_like(columns), np.empty_like(logits)
    for i in range(min(k, held)):
        first[i], values[i] = columns[by_column[order[i]]], mine[order[i]]
    return first, values


@part
def _most_of_makers(shopper: ShopperParts, products: ProductParts, blocks: Blocks) -> Any:
    """Upper bounds of a maker's cross features in each block, as `MAKER`.

    They are never negative.
    """
    most, done = (
        np.zeros((len(blocks.pair), _MAKER), np.float32),
        np.zeros(len(shopper.groups.maker), np.bool_),
    )
    for row in shopper.groups.rows:
        maker = products.codes[row, MAKER_CODE]
        at = shopper.groups.maker_at[maker]
        if not done[at] and maker + 1 < len(blocks.maker_starts):
            done[at] = True
            first, end = blocks.maker_starts[maker], blocks.maker_starts[maker + 1]
            for j in blocks.maker_blocks[first:end]:
                for i in range(_MAKER):
                    most[j, i] = max(most[j, i], shopper.groups.maker[at, i])
    return most


@part
def _fill_pair(shopper: ShopperParts, net: Weights, pair: Ints, out: Floats) -> None:
    groups = shopper.groups
    type_, category = groups.type_at[pair[0]], groups.category_at[pair[1]]
    share = groups.type_count[type_] / max(groups.category_count[category], np.float32(1))
    for h in range(len(out)):
        out[h] = (
            shopper.user[h]
            + shopper.types[type_, h]
            + shopper.categories[category, h]
            + share * net.cross[SHARE_OF_CATEGORY, h]
        )


@part
def _logit_of(
    shopper: ShopperParts, products: ProductParts, net: Weights, place: int, base: Floats
) -> Any:
    """Logit of the candidate at a place, which the shopper may have bought; `base` [H] is room."""
    groups, pair = shopper.groups, products.pairs[products.pair[place]]
    item = groups.product_at[products.rows[place]]
    _fill_pair(shopper, net, pair, base)
    of_type = max(groups.type_count[groups.type_at[pair[0]]], np.float32(1))
    share = groups.product_count[item] / of_type
    for h in range(len(base)):
        base[h] += shopper.items[item, h] + share * net.cross[SHARE_OF_TYPE, h]
    return _logit(
        products.daily[place],
        base,
        shopper.makers[groups.maker_at[products.maker[place]]],
        _matches(shopper.queries, products.vectors[place]),
        net,
    )


@part
def _matches(queries: Floats, vector: Floats) -> Any:
    """Return the dot products of a product's vector with the three queries."""
    a, b, c = np.float32(0), np.float32(0), np.float32(0)
    for i in range(len(vector)):
        a += queries[0, i] * vector[i]
        b += queries[1, i] * vector[i]
        c += queries[2, i] * vector[i]
    return a, b, c


@part
def _logit(daily: Floats, base: Floats, maker: Floats, matches: Any, net: Weights) -> Any:
    """Return the logit from the parts of the first layer, [H] each, and the three dot products."""
    total, (a, b, c) = np.float32(0), matches
    for h in range(len(net.output)):  # written out: so it becomes vector instructions
        x = (
            daily[h]
            + base[h]
            + maker[h]
            + a * net.match[0, h]
            + b * net.match[1, h]
            + c * net.match[2, h]
        )
        total += max(x, np.float32(0)) * net.output[h]
    return net.bias[0] + total
