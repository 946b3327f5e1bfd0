"""Why a product is in a list."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled
from pprm.ranking.candidate_features import COLUMNS, GROUPS, NAMES
from pprm.ranking.second_pass import SecondPass
from pprm.retrieval.features import CATEGORY, GLOBAL, ITEM, POPULARITY, TYPE

_SEEN, _DUE = ITEM.index("seen"), ITEM.index("due")
_TYPE_SEEN, _CATEGORY_SEEN = TYPE.stop - 1, CATEGORY.stop - 1
_WEEK = GLOBAL.start + POPULARITY.index("week")
DUE = (0.35, 1.0)
"""Of half the mean interval between two purchases, from when until when one is due."""


def reasons(cross: NDArray[np.float32], popular: float) -> list[str]:
    """Return why a product is in a list, from its cross features [40].

    What is true of it comes with the strongest first.
    """
    if cross[_SEEN]:
        return ["bought_before", "due"] if DUE[0] <= cross[_DUE] <= DUE[1] else ["bought_before"]
    if cross[_TYPE_SEEN]:
        return ["buys_type"]
    if cross[_CATEGORY_SEEN]:
        return ["buys_category"]
    return ["popular"] if cross[_WEEK] >= popular else []


def _column(group: str, name: str) -> int:
    start: int = COLUMNS[group].start
    return start + GROUPS[group].index(name)


_MAILER, _DISPLAY, _AT_STORE, _IN_STORE = (
    _column("promotion", name) for name in ("mailer", "display", "store_display", "store_mailer")
)
_TRIED, _TREND = _column("trial", "first_trend"), _column("fast", "week_trend")
_LIKED, _LOOKED = _column("factors", "factors"), _column("browse", "recency")
_SAYS: dict[str, tuple[str, ...]] = {
    "bought_before": ("first_stage_input.product_", "pattern.", "substitution."),
    "due": ("hazard.", "first_stage_input.product_due"),
    "buys_type": ("first_stage_input.type_", "type_pattern."),
    "buys_category": ("first_stage_input.category_",),
    "promoted": ("promotion.",),
    "tried_by_others": ("trial.",),
    "trending": ("fast.",),
    "similar_shoppers": ("factors.",),
    "looked_at": ("browse.",),
    "popular": ("first_stage_input.popularity_",),
}
"""Reasons, and beginnings of the names of the features that speak for them."""
REASONS = tuple(_SAYS)
_FEATURES = np.array([[name.startswith(said) for name in NAMES] for said in _SAYS.values()])
"""[reasons, len(NAMES)]"""
MOST_REASONS = 2


def facts(inputs: NDArray[np.float32], popular: float) -> NDArray[np.bool_]:
    """Which reasons are true of candidates with features [K, len(NAMES)], [K, reasons].

    `popular` is what `popular_from` gives for all that is available.
    """
    made: NDArray[np.bool_] = _facts(inputs, np.float32(popular))
    return made


@compiled
def _facts(x: NDArray[np.float32], popular: np.float32) -> Any:
    """In the order of `REASONS`."""
    true = np.zeros((len(x), 10), np.bool_)
    for k in range(len(x)):
        seen = x[k, _SEEN] > 0
        true[k, 0], true[k, 1] = seen, seen and DUE[0] <= x[k, _DUE] <= DUE[1]
        type_seen, category_seen = x[k, _TYPE_SEEN] > 0, x[k, _CATEGORY_SEEN] > 0
        # what follows tells nothing
        true[k, 2], true[k, 3] = type_seen and not seen, category_seen and not type_seen
        true[k, 4] = max(x[k, _MAILER], x[k, _DISPLAY], x[k, _AT_STORE], x[k, _IN_STORE]) > 0
        true[k, 5], true[k, 6] = x[k, _TRIED] > 0.1, x[k, _TREND] > 0.1
        true[k, 7], true[k, 8], true[k, 9] = (
            x[k, _LIKED] > 0.05,
            x[k, _LOOKED] > 0,
            x[k, _WEEK] >= popular,
        )
    return true


def telling(true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How informative each reason is about a shopper's candidates [K, reasons].

    The rarer it is among them, the more.
    """
    rare: NDArray[np.float64] = -np.log(true.sum(0) / (len(true) + 1) + 1e-9)
    return rare


def why(
    second: SecondPass, inputs: NDArray[np.float32], tells: NDArray[np.float64]
) -> list[list[str]]:
    """Return why each product is in a list, from its candidate features [k, len(NAMES)].

    Only reasons that are true of it count, those with `tells` [k, reasons] above 0. The one is
    chosen that has the largest product of two numbers: how far the logit falls when its features
    are replaced by what is usual among candidates, and `tells`.
    """
    at, which = np.nonzero(tells)
    worth = np.full(tells.shape, -np.inf)
    worth[at, which] = second.lifts(inputs, at, _FEATURES[which]) * tells[at, which]
    strongest = np.argsort(-worth, axis=1, kind="stable")[:, :MOST_REASONS]
    return [
        [REASONS[one] for one in mine if told[one]]
        for mine, told in zip(strongest.tolist(), tells.tolist(), strict=True)
    ]
