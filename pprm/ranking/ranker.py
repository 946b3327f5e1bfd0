"""Logits of the network that ranks, compiled for a CPU, or by torch on a GPU.

A GPU takes the whole micro-batch in one call.

The loops keep candidates side by side in memory, an input or a hidden unit below the other, so that
a vector of the CPU holds one number of many candidates, and weights are its scalars. They are
written out for four units and four inputs at once: each number loaded is multiplied four times,
each sum loaded and stored for four products.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from pprm.core.arrays import Floats
from pprm.core.compiled import compiled, part
from pprm.ranking.network import CLIP, RankingNetwork
from pprm.retrieval.device import concatenate

LINE = 16
"""Numbers in a cache line and in the longest vector: one across two lines is loaded twice."""
ROWS = 23 * LINE
"""Most rows at once: what lies between two layers stays in the caches.

It is an odd number of lines: otherwise the rows below each other would fall into a few places of a
cache.
"""


class _Network(NamedTuple):
    """Weights of all members, a row for each unit."""

    mean: Floats
    """Of the inputs, [K];"""
    scale: Floats
    """and what makes their standard deviation 1."""
    first: Floats
    """[M H1, K + 1]; the last column is 0."""
    first_bias: Floats
    """[M H1]"""
    second: Floats
    """[M, H2, H1]"""
    second_bias: Floats
    """[M, H2]"""
    output: Floats
    """[M, H2]; divided by M, since the members' mean is wanted, and so is the bias [1]."""
    output_bias: Floats


class _Room(NamedTuple):
    """Memory for what lies between layers, kept: fresh memory costs as much as a layer."""

    z: Floats
    """Standardised inputs, [K + 1, ROWS]; the last row is 0."""
    hidden: Floats
    """The first layer, [M H1, ROWS]."""
    four: Floats
    """Four units of the second, [4, ROWS]."""


class Ranker:
    """Computes logits with a network's weights as they are now, on its device.

    One thread owns it.
    """

    def __init__(self, model: RankingNetwork) -> None:
        self._model, self._network = model, _network(model)
        heights = len(self._network.mean) + 1, len(self._network.first), 4
        self._room = _Room(*(torch.zeros(height, ROWS).numpy() for height in heights))

    @torch.inference_mode()
    def logits(self, inputs: Sequence[Floats]) -> list[Floats]:
        """Logits of each shopper's candidates, [K], from their features [K, len(NAMES)]."""
        device = self._model.mean.device
        if device.type == "cpu":
            return [_logits(self._network, self._room, mine) for mine in inputs]
        together = torch.from_numpy(concatenate(inputs, device)).to(device, non_blocking=True)
        return np.split(
            self._model(together).cpu().numpy(), np.cumsum([len(mine) for mine in inputs])[:-1]
        )

    def lifts(self, inputs: Floats, at: NDArray[np.int64], columns: NDArray[np.bool_]) -> Floats:
        """How far logits fall when groups of features become their mean among candidates, [n].

        The rows `at` [n] are of the features [k, len(NAMES)]. Each loses the columns of a row of
        `columns` [n, len(NAMES)]. The rows are few: a CPU is as fast as a GPU.
        """
        without = np.where(columns, self._network.mean, inputs[at])
        logits = _logits(self._network, self._room, np.concatenate([inputs, without]))
        lifts: Floats = logits[at] - logits[len(inputs) :]
        return lifts


def _network(model: RankingNetwork) -> _Network:
    members = len(model.second)
    parts = (
        model.mean, 1 / model.scale, pad(model.first.weight, (0, 1)), model.first.bias,
        model.second.mT,
        model.second_bias[:, 0], model.output[..., 0] / members, model.output_bias.mean()[None],
    )  # fmt: skip
    return _Network(*(part.detach().cpu().contiguous().numpy() for part in parts))


@compiled
def _logits(net: _Network, room: _Room, inputs: Floats) -> Any:
    """Means of the members' logits, [n], of features [n, K]."""
    out = np.empty(len(inputs), np.float32)
    for start in range(0, len(inputs), ROWS):
        rows = min(len(inputs) - start, ROWS)
        _standardise(net, inputs[start : start + rows], room.z)
        varying, bias = _varying(net, room.z, rows)
        _first_layer(net, varying, bias, room.z, room.hidden, rows)
        _other_layers(net, room, out[start : start + rows])
    return out


@part
def _standardise(net: _Network, inputs: Floats, z: Floats) -> None:
    """Fill `z` [K + 1, rows], but for its last row."""
    # a few rows at a time stay in the nearest cache until all is read
    for start in range(0, len(inputs), LINE):
        for k in range(inputs.shape[1]):
            for i in range(start, min(start + LINE, len(inputs))):
                x = (inputs[i, k] - net.mean[k]) * net.scale[k]
                # written so that what is not a number stays so
                x = np.float32(CLIP) if x > CLIP else x
                z[k, i] = np.float32(-CLIP) if x < -CLIP else x


@part
def _varying(net: _Network, z: Floats, rows: int) -> Any:
    """Find the inputs that differ between rows, and the first layer's bias with the others.

    Shopper and moment are the same for all candidates, and what a shopper never did is 0 for all: a
    fourth of the inputs. Those that differ are filled up to a multiple of four with the one that is
    always 0.
    """
    zeros = len(z) - 1
    varying, bias, n = np.full(len(z) + 3, zeros), net.first_bias.copy(), 0
    for k in range(zeros):
        differing = 0
        for i in range(rows):
            differing += z[k, i] != z[k, 0]
        if differing:
            varying[n] = k
            n += 1
        else:
            for h in range(len(bias)):
                bias[h] += z[k, 0] * net.first[h, k]
    return varying[: (n + 3) // 4 * 4], bias


@part
def _first_layer(
    net: _Network, varying: NDArray[np.int64], bias: Floats, z: Floats, out: Floats, rows: int
) -> None:
    """`out` [M H1, rows], after its ReLU."""
    for n in range(0, len(out), 4):
        for i in range(rows):
            out[n, i], out[n + 1, i], out[n + 2, i], out[n + 3, i] = (
                bias[n],
                bias[n + 1],
                bias[n + 2],
                bias[n + 3],
            )
        _add_products(net.first, n, varying, z, out[n : n + 4], rows)
        for unit in range(n, n + 4):
            for i in range(rows):
                out[unit, i] = _relu(out[unit, i])


@part
def _other_layers(net: _Network, room: _Room, logits: Floats) -> None:
    """`logits` [rows] from the first layer."""
    members, units, width = net.second.shape
    every, rows, four = np.arange(width), len(logits), room.four
    for i in range(rows):
        logits[i] = net.output_bias[0]
    for m in range(members):
        hidden = room.hidden[m * width : (m + 1) * width]
        for n in range(0, units, 4):
            for unit in range(4):
                for i in range(rows):
                    four[unit, i] = net.second_bias[m, n + unit]
            _add_products(net.second[m], n, every, hidden, four, rows)
            # the output's weights are used at once, so that the second layer is never kept whole
            for unit in range(4):
                weight = net.output[m, n + unit]
                for i in range(rows):
                    logits[i] += weight * _relu(four[unit, i])


@part
def _relu(x: Any) -> Any:
    """ReLU, written so that NaN stays NaN."""
    return np.float32(0) if x < 0 else x


@part
def _add_products(
    w: Floats,
    n: int,
    inner: NDArray[np.int64],
    x: Floats,
    out: Floats,
    rows: int,
) -> None:
    """Add `w` [n : n + 4, inner] @ `x` [inner, rows] to `out` [4, rows].

    4 divides len(inner).
    """
    out0, out1, out2, out3 = out[0], out[1], out[2], out[3]
    for k in range(0, len(inner), 4):
        p, q, r, s = inner[k], inner[k + 1], inner[k + 2], inner[k + 3]
        x0, x1, x2, x3 = x[p], x[q], x[r], x[s]
        a0, a1, a2, a3 = w[n, p], w[n, q], w[n, r], w[n, s]
        b0, b1, b2, b3 = w[n + 1, p], w[n + 1, q], w[n + 1, r], w[n + 1, s]
        c0, c1, c2, c3 = w[n + 2, p], w[n + 2, q], w[n + 2, r], w[n + 2, s]
        d0, d1, d2, d3 = w[n + 3, p], w[n + 3, q], w[n + 3, r], w[n + 3, s]
        for i in range(rows):
            out0[i] += a0 * x0[i] + a1 * x1[i] + a2 * x2[i] + a3 * x3[i]
            out1[i] += b0 * x0[i] + b1 * x1[i] + b2 * x2[i] + b3 * x3[i]
            out2[i] += c0 * x0[i] + c1 * x1[i] + c2 * x2[i] + c3 * x3[i]
            out3[i] += d0 * x0[i] + d1 * x1[i] + d2 * x2[i] + d3 * x3[i]
