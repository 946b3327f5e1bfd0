"""Retrieval for whole micro-batches with torch.

It runs on a GPU, and on the CPU for networks of more hidden layers.

What is known of products stays on the device. Only what shoppers bought and looked at is sent, a
few rows each, and ranking's candidates come back with their logits. The catalogue is
scored in blocks, in the device's fast precision; what is chosen is scored again in float32, so that
precision matters only at the border of the candidates. Row 0 of every table of products is nothing:
candidate n is at n + 1.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, linear, pad

from pprm.core.arrays import Floats
from pprm.retrieval.candidates import NEW, SEEN
from pprm.retrieval.device import Link, Recorded, dot
from pprm.retrieval.device_input import (
    GROUP_WIDTH,
    BufferParts,
    BufferSize,
    Indices,
    ShopperInput,
    pack,
    size_of,
    unpack,
)
from pprm.retrieval.features import (
    CATEGORY,
    MAKER,
    MAKERS,
    PRODUCT,
    SHARE_OF_CATEGORY,
    SHARE_OF_TYPE,
    TYPE,
)
from pprm.retrieval.model import PPRM

MOST_SHOPPERS = 32
"""Shoppers of a call, a power of two.

A micro-batch is several calls: the host prepares one while the device computes another.
"""
MOST_AT_ONCE = 1 << 26
"""Numbers per candidate, type, category and maker for the shoppers of a call: 256 MB."""
BLOCKS = {"cuda": 1 << 25, "cpu": 1 << 18}
"""Numbers of the hidden layer computed at once.

1 MB on the CPU, which a core's cache holds several times; on a GPU so many that a kernel's fixed
cost no longer counts.
"""
COUNT = GROUP_WIDTH - 1
"""Column of a type's purchases."""
LINE = 4
"""Numbers gathered at once, as one: a GPU takes as long for a number of two bytes."""
WIDE = {torch.bfloat16: torch.int64, torch.float32: torch.complex128}
"""A number as large as a line."""
LINES = (-(-GROUP_WIDTH // LINE), -(-GROUP_WIDTH // LINE), -(-len(MAKER) // LINE))
"""Of a type, a category, a maker."""
ROOM = 1024
"""Tables have lengths of so many times something, so that a few more products find room in them."""


class Chosen(NamedTuple):
    """Ranking's candidates for a shopper, K of them."""

    columns: Indices
    """Places among the N candidates, ascending, [K]."""
    logits: Floats
    """[K]"""


class _Rooms(NamedTuple):
    """Lengths of tables."""

    rows: int
    """Of the catalogue."""
    columns: int
    """Of candidates, with the row that is nothing; likewise for codes."""
    types: int
    categories: int
    makers: int


class _Resident(NamedTuple):
    """What is known of products; what is beyond them is room."""

    vectors: Tensor
    """Product vectors of all rows of the catalogue, [rows, d]."""
    row: Tensor
    """Catalogue row of each candidate, [columns]."""
    lines: Tensor
    """Indices in `_Given.lines` of each candidate's type, category and maker, [columns, 8].

    As many zeros follow as there are lines of `_Given.queries`.
    """
    daily: Tensor
    """The share that product and popularity have in the first layer, [columns, H]."""
    bar: Tensor
    """0 for candidates, -inf for what is none, [columns]."""


class _Given(NamedTuple):
    """What is known of B shoppers, in one precision."""

    user: Tensor
    """The shopper's share of the first layer, [B, 1, H]."""
    queries: Tensor
    """With one that is zeros at least, in whole lines, [B, 4, d]."""
    lines: Tensor
    """Types, categories and makers by code, each some lines, [B, all, LINE].

    Categories have what `features.GROUP` names, and the count.
    """


class _Network(NamedTuple):
    """Weights in one precision."""

    groups: Tensor | None
    """Of what `_groups_of` lays out, [32, H]; None: the network reads nothing but texts."""
    items: Tensor | None
    """Of `Items.features`, [15, H]."""
    hidden: list[tuple[Tensor, Tensor]]
    output: Tensor
    bias: Tensor


def precision(device: torch.device) -> torch.dtype:
    """In what a device scores the whole catalogue: bfloat16 where that is built in."""
    is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if is_fast else torch.float32


class DevicePass:
    """Scores micro-batches and chooses candidates.

    `load` first, and whenever the catalogue or the day has changed.
    """

    def __init__(self, model: PPRM, device: torch.device, coarse: torch.dtype) -> None:
        self._model, self._device, self._link = model, device, Link(device)
        self._exact, self._coarse = _network(model, torch.float32), _network(model, coarse)
        self._products, self._rooms = 0, _Rooms(0, 0, 0, 0, 0)

    @torch.inference_mode()
    def load(
        self,
        vectors: Tensor,
        rows: Indices,
        codes: NDArray[np.int32],
        daily: Tensor,
        sizes: Indices,
    ) -> None:
        """Load what is known of products, in the place of what was.

        Vectors of all catalogue rows [all, d]; the candidates' catalogue rows [N], codes of type,
        category and maker [N, 3] and `daily` share of the first layer [N, H]; how many types,
        categories and makers there are [3].
        """
        rooms = _Rooms(*map(_with_room, (len(vectors), 1 + len(rows), *(1 + sizes).tolist())))
        if rooms != self._rooms:
            self._rooms = rooms
            lines = sum(LINES) + _whole(1 + len(self._model.config.pool_days)) // LINE
            self._resident = _make_resident(
                rooms, vectors.shape[1], daily.shape[1], lines, self._device
            )
            self._score, self._choose = (
                Recorded(self._logits, self._device),
                Recorded(self._chosen, self._device),
            )
        r, self._products = self._resident, len(rows)
        used = slice(1, 1 + self._products)
        r.vectors[: len(vectors)] = vectors
        r.row[used] = torch.from_numpy(rows).to(self._device)
        r.lines[used, : sum(LINES)] = torch.from_numpy(_lines_of(codes, rooms)).to(self._device)
        r.daily[used] = daily
        r.bar.fill_(-torch.inf)
        r.bar[used] = 0

    def logits(self, shoppers: Iterable[ShopperInput]) -> Iterator[tuple[ShopperInput, Floats]]:
        """Logits of all candidates, [N], shopper by shopper."""
        for some, made in self._run(self._score, shoppers):
            yield from zip(some, made[:, 1 : 1 + self._products], strict=True)

    def choose(self, shoppers: Iterable[ShopperInput]) -> Iterator[tuple[ShopperInput, Chosen]]:
        """Yield ranking's candidates, shopper by shopper.

        They are those that `candidates.choose` takes by the logits.
        """
        for some, made in self._run(self._choose, shoppers):
            for shopper, columns, logits in zip(
                some, made[:, 0].view(np.int32), made[:, 1], strict=True
            ):
                there = np.isfinite(logits)
                taken, at = np.unique(columns[there], return_index=True)
                yield shopper, Chosen(taken.astype(np.int64) - 1, logits[there][at])

    def _run(
        self, work: Recorded[BufferSize], shoppers: Iterable[ShopperInput]
    ) -> Iterator[tuple[list[ShopperInput], Floats]]:
        """Calls of the most shoppers there may be, and their results.

        Each begins before the last one's result is read, and before the next one's shoppers are
        asked for.
        """
        shoppers, most, last = iter(shoppers), self._most_shoppers(), None
        while some := list(islice(shoppers, most)):
            size = size_of(some)
            made = self._link.receive(
                work(size, self._link.send(pack(some, size, self._link.zeros)))
            )
            if last:
                yield last[0], _read(*last)
            last = some, made
        if last:
            yield last[0], _read(*last)

    def _most_shoppers(self) -> int:
        """A power of two. Each has logits with sort keys of twice their size, and a row a code."""
        rooms = self._rooms
        each = 3 * rooms.columns + LINE * sum(_lines_by_code(rooms))
        return min(1 << max(MOST_AT_ONCE // each, 1).bit_length() - 1, MOST_SHOPPERS)

    def _logits(self, size: BufferSize, buffer: Tensor) -> Tensor:
        """Logits of all candidates and of the room beside them, [B, columns]."""
        sent = unpack(buffer, size)
        given, bought = self._given(sent), sent.columns[:, : size.bought].long()
        of_bought = _score(self._exact, self._resident, given, bought, sent.items[:, : size.bought])
        return _score_all(self._exact, self._resident, given).scatter_(1, bought, of_bought)

    def _chosen(self, size: BufferSize, buffer: Tensor) -> Tensor:
        """Return places and logits of the best new and bought products and those looked at.

        They are [B, 2, 380]. Some products are there twice.
        """
        sent, r = unpack(buffer, size), self._resident
        given, columns = self._given(sent), sent.columns.long()
        known = _score(self._exact, r, given, columns, sent.items) + sent.bar
        bought, looked = columns.tensor_split([size.bought], 1)
        of_bought, of_looked = known.tensor_split([size.bought], 1)
        best = first_best(of_bought, SEEN)
        of_new = _score_all(self._coarse, r, given).scatter_(1, bought, -torch.inf)
        new = first_best(of_new, NEW)
        is_none = of_new.gather(1, new) == -torch.inf  # fewer than NEW are new
        of_new = _score(self._exact, r, given, new).masked_fill(is_none, -torch.inf)
        taken = torch.cat([new, bought.gather(1, best), looked], 1)
        logits = torch.cat([of_new, of_bought.gather(1, best), of_looked], 1)
        return torch.stack([taken.int().view(torch.float32), logits], 1)

    def _given(self, sent: BufferParts[Tensor]) -> _Given:
        user, queries = shopper_part(
            self._model,
            self._resident.vectors,
            sent.text,
            sent.scalars,
            sent.rows.long(),
            sent.ages,
            sent.weights,
        )
        rooms = self._rooms
        groups = (
            _by_code(sent.type_codes, sent.types, rooms.types),
            _by_code(sent.category_codes, sent.categories, rooms.categories),
            _by_code(sent.maker_codes, sent.makers, rooms.makers),
        )
        queries = _filled(queries, _whole(queries.shape[1] + 1))
        return _Given(
            user[:, None],
            queries,
            torch.cat([lines.view(len(user), -1, LINE) for lines in groups], 1),
        )


def shopper_part(
    model: PPRM,
    vectors: Tensor,
    text: Tensor,
    scalars: Tensor,
    rows: Tensor,
    ages: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the shoppers' share of the first layer [B, H], and their queries [B, pools, d].

    `vectors` of all catalogue rows [all, d]; the others as in `ShopperInput`, [B, ...].
    """
    if not model.config.sequence:
        return model.user_part(text, scalars, None), text.new_zeros(len(text), 0, vectors.shape[1])
    pooled = model.pool(vectors[rows], ages, weights)
    return model.user_part(text, scalars, pooled), model.queries(pooled)


def first_best(values: Tensor, k: int) -> Tensor:
    """Return columns of the k highest of `values` [B, n], in any order.

    Of equal ones the first are taken, which topk does not promise.

    So it is asked for integers: the bits of a float, in the float's order, and below them the
    column, backwards.
    """
    bits = (values + 0.0).view(torch.int32)  # of the two zeros this makes one
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    backwards = torch.arange(values.shape[1] - 1, -1, -1, device=values.device)
    return ((ordered << 32) | backwards).topk(k, sorted=False).indices


def _score_all(net: _Network, resident: _Resident, given: _Given) -> Tensor:
    """Logits of all columns as if none had been bought, [B, columns], block after block."""
    given = _Given(*(part.to(net.output.dtype) for part in given))
    columns = torch.arange(len(resident.row), device=resident.row.device)[None]
    at_once = max(BLOCKS[resident.row.device.type] // given.user.numel(), 1)
    return torch.cat(
        [_score(net, resident, given, block) for block in torch.split(columns, at_once, 1)], 1
    )


def _score(
    net: _Network, resident: _Resident, given: _Given, columns: Tensor, items: Tensor | None = None
) -> Tensor:
    """Compute logits, float32 [B, C], of `columns` [B, C], or [1, C] if all shoppers' are the same.

    `items` are [B, C, 15].
    """
    x = embedding(columns, resident.daily).to(net.output.dtype) + given.user
    rows = x.flatten(0, 1)
    if net.groups is not None:
        rows.addmm_(_groups_of(resident, given, columns).flatten(0, 1), net.groups)
    if net.items is not None and items is not None:
        rows.addmm_(items.flatten(0, 1), net.items)
    rows = torch.relu_(rows)
    for weight, bias in net.hidden:
        rows = torch.relu_(linear(rows, weight, bias))
    logits = dot(rows, net.output).view(x.shape[:2]) + (net.bias + resident.bar[columns])
    # what is no finite number is never chosen
    return logits.nan_to_num_(-torch.inf, -torch.inf, -torch.inf)


def _groups_of(resident: _Resident, given: _Given, columns: Tensor) -> Tensor:
    """What is known of each column's type, category and maker, and its matches, [B, C, 32]."""
    lines = given.lines.flatten(1).view(WIDE[given.lines.dtype])
    at = resident.lines[columns].flatten(1).expand(len(lines), -1)
    groups = lines.gather(1, at).view(given.lines.dtype).view(len(lines), columns.shape[1], -1)
    matches = (
        embedding(resident.row[columns], resident.vectors).to(given.queries.dtype)
        @ given.queries.mT
    )
    groups[..., -matches.shape[2] :] = matches
    groups[..., -1] = groups[..., COUNT] / groups[..., _whole(GROUP_WIDTH) + COUNT].clamp(min=1)
    return groups


def _network(model: PPRM, dtype: torch.dtype) -> _Network:
    hidden = [
        (
            layer.get_parameter("weight").detach().to(dtype),
            layer.get_parameter("bias").detach().to(dtype),
        )
        for layer in model.hidden
    ]
    output, bias = model.output.weight.detach()[0].to(dtype), model.output.bias.detach()
    if model.cross_layer is None:
        return _Network(None, None, hidden, output, bias)
    cross, match, _ = model.cross_weights()
    groups = torch.cat([
        _filled(cross[TYPE], _whole(GROUP_WIDTH)), _filled(cross[CATEGORY], _whole(GROUP_WIDTH)),
        _filled(cross[MAKERS], _whole(len(MAKER))), _filled(match, _whole(len(match) + 1) - 1),
        cross[SHARE_OF_CATEGORY][None],
    ])  # fmt: skip
    items = torch.cat([cross[PRODUCT], cross[SHARE_OF_TYPE][None]])
    return _Network(groups.to(dtype), items.to(dtype), hidden, output, bias)


def _lines_of(codes: NDArray[np.int32], rooms: _Rooms) -> Indices:
    """See `_Resident.lines`; of codes of type, category and maker [N, 3], without the zeros."""
    starts = np.cumsum([0, *_lines_by_code(rooms)[:-1]])
    return np.concatenate(
        [
            start + (1 + code.astype(np.int64)[:, None]) * width + np.arange(width)
            for start, code, width in zip(starts, codes.T, LINES, strict=True)
        ],
        1,
    )


def _lines_by_code(rooms: _Rooms) -> list[int]:
    """Lines of all types, categories and makers."""
    return [
        room * width
        for room, width in zip((rooms.types, rooms.categories, rooms.makers), LINES, strict=True)
    ]


def _make_resident(
    rooms: _Rooms, dimensions: int, hidden: int, lines: int, device: torch.device
) -> _Resident:
    columns = rooms.columns
    return _Resident(
        torch.zeros(rooms.rows, dimensions, device=device),
        torch.zeros(columns, dtype=torch.int64, device=device),
        torch.zeros(columns, lines, dtype=torch.int64, device=device),
        torch.zeros(columns, hidden, device=device),
        torch.zeros(columns, device=device),
    )  # fmt: skip


def _with_room(count: int) -> int:
    return (count // ROOM + 1) * ROOM


def _by_code(codes: Tensor, rows: Tensor, room: int) -> Tensor:
    """Scatter rows [B, s, f] to their codes [B, s], zeros elsewhere, [B, room, f].

    Rows with code 0 must be zeros. The f numbers are padded with zeros to whole lines.
    """
    table = rows.new_zeros(len(rows), room, _whole(rows.shape[2]))
    table[..., : rows.shape[2]].scatter_(1, codes.long()[..., None].expand_as(rows), rows)
    return table


def _filled(rows: Tensor, length: int) -> Tensor:
    """Rows [..., r, f] with zeros below, [..., n, f]."""
    return pad(rows, (0, 0, 0, length - rows.shape[-2]))


def _whole(count: int) -> int:
    return -(-count // LINE) * LINE


def _read(shoppers: list[ShopperInput], wait: Callable[[], Tensor]) -> Floats:
    """A result, without the shoppers that fill it up."""
    made: Floats = wait()[: len(shoppers)].numpy()
    return made
