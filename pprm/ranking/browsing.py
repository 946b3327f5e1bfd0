"""What the shopper looked at: a feature group in a module of its own, its names and its loop."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.codes import MAKER_CODE, TYPE_CODE
from pprm.core.arrays import Floats
from pprm.core.compiled import compiled
from pprm.core.feature_groups import FeatureGroup
from pprm.ranking.known import Known
from pprm.state.user_state import DAY

COUNTED = ("session", "today", "week", "cart", "removed", "dwell")
"""Of the product itself, decayed; columns are logarithms of them."""
COLUMNS = (*COUNTED, "recency", "type_week", "type_cart", "maker_week")
_SESSION, _TODAY, _WEEK, _CART, _REMOVED, _DWELL = (
    COUNTED.index(name) for name in ("session", "today", "week", "cart", "removed", "dwell")
)
_COUNTS = len(COUNTED)


def fill(known: Known, out: Floats) -> None:
    """Fill `BROWSE` of all candidates; nothing where the shopper never looked."""
    if not known.state.browsed_keys:
        return
    keys, counters = known.state.looked_at()
    catalogue, rows = known.catalogue, known.candidates.rows
    _fill(counters, catalogue.rows(keys), rows, catalogue.codes, catalogue.sizes,
          float(known.now), out)  # fmt: skip


BROWSE = FeatureGroup("browse", COLUMNS, fill)
_COUNTED = BROWSE.run(COUNTED).start
_RECENCY, _TYPE_WEEK, _TYPE_CART, _MAKER_WEEK = BROWSE.at(
    "recency", "type_week", "type_cart", "maker_week"
)


@compiled
def _fill(
    counters: NDArray[Any], looked: NDArray[np.int64], rows: NDArray[np.int64],
    codes: NDArray[np.int32], sizes: NDArray[np.int64], now: float, out: Floats,
) -> None:  # fmt: skip
    at = np.zeros(len(codes), np.int32)
    values, recency = np.zeros((len(looked) + 1, _COUNTS)), np.zeros(len(looked) + 1)
    types, carts, makers = (
        np.zeros(sizes[TYPE_CODE]),
        np.zeros(sizes[TYPE_CODE]),
        np.zeros(sizes[MAKER_CODE]),
    )
    for i in range(len(looked)):
        if looked[i] < 0:
            continue
        c, value = counters[i], values[i + 1]
        age = max(now - c.last, 0.0) / DAY
        week = 2.0 ** (-age / 7)
        value[_SESSION], value[_TODAY] = c.session * 2.0 ** (-age * 48), c.day * 2.0 ** (-age * 4)
        value[_WEEK], value[_CART] = c.week * week, c.cart * week
        value[_REMOVED], value[_DWELL] = c.removed * week, c.dwell * week
        recency[i + 1], at[looked[i]] = math.exp(-age), i + 1
        types[codes[looked[i], TYPE_CODE]] += value[_WEEK]
        carts[codes[looked[i], TYPE_CODE]] += value[_CART]
        makers[codes[looked[i], MAKER_CODE]] += value[_WEEK]
    for k in range(len(rows)):
        row = rows[k]
        for column in range(_COUNTS):
            out[k, _COUNTED + column] = math.log1p(values[at[row], column])
        out[k, _RECENCY] = recency[at[row]]
        out[k, _TYPE_WEEK] = math.log1p(types[codes[row, TYPE_CODE]])
        out[k, _TYPE_CART] = math.log1p(carts[codes[row, TYPE_CODE]])
        out[k, _MAKER_WEEK] = math.log1p(makers[codes[row, MAKER_CODE]])
