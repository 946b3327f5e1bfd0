"""Why a product is in a list."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled
from pprm.ranking.candidate_features import LAYOUT, NAMES, RETRIEVAL_INPUT
from pprm.ranking.ranker import Ranker
from pprm.retrieval.features import CROSS

_SAYING = ("product_seen", "product_due", "type_seen", "category_seen", "popularity_week")
DUE = (0.35, 1.0)
"""From when until when one is due, of twice the mean interval between two purchases."""
TRIED, TRENDING, SIMILAR = 0.1, 0.1, 0.05
"""Above these `trial.first_trend`, `fast.week_trend` and `factors` tell something."""


def reasons(cross: NDArray[np.float32], popular: float) -> list[str]:
    """Return why a product is in a list, from its cross features (`features.CROSS`).

    What is true of it comes with the strongest first.
    """
    seen, due, type_seen, category_seen, week = (cross[CROSS.index(name)] for name in _SAYING)
    if seen:
        return ["bought_before", "due"] if DUE[0] <= due <= DUE[1] else ["bought_before"]
    if type_seen:
        return ["buys_type"]
    if category_seen:
        return ["buys_category"]
    return ["popular"] if week >= popular else []


_SEEN, _DUE, _TYPE_SEEN, _CATEGORY_SEEN, _WEEK = LAYOUT.at(RETRIEVAL_INPUT.name, *_SAYING)
_MAILER, _DISPLAY, _AT_STORE, _IN_STORE = LAYOUT.at(
    "promotion", "mailer", "display", "store_display", "store_mailer"
)
(_TRIED,), (_TREND,) = LAYOUT.at("trial", "first_trend"), LAYOUT.at("fast", "week_trend")
(_LIKED,), (_LOOKED,) = LAYOUT.at("factors", "factors"), LAYOUT.at("browse", "recency")
_SAYS: dict[str, tuple[str, ...]] = {
    "bought_before": (f"{RETRIEVAL_INPUT.name}.product_", "pattern.", "substitution."),
    "due": ("hazard.", f"{RETRIEVAL_INPUT.name}.product_due"),
    "buys_type": (f"{RETRIEVAL_INPUT.name}.type_", "type_pattern."),
    "buys_category": (f"{RETRIEVAL_INPUT.name}.category_",),
    "promoted": ("promotion.",),
    "tried_by_others": ("trial.",),
    "trending": ("fast.",),
    "similar_shoppers": ("factors.",),
    "looked_at": ("browse.",),
    "popular": (f"{RETRIEVAL_INPUT.name}.popularity_",),
}
"""Reasons, and beginnings of the names of the features that speak for them."""
REASONS = tuple(_SAYS)
_FEATURES = np.array(
    [[name.startswith(beginnings) for name in NAMES] for beginnings in _SAYS.values()]
)
"""[reasons, len(NAMES)]"""
MOST_REASONS = 2
_REASONS = len(REASONS)
_BOUGHT_BEFORE, _IS_DUE, _BUYS_TYPE, _BUYS_CATEGORY, _PROMOTED = (
    REASONS.index(name)
    for name in ("bought_before", "due", "buys_type", "buys_category", "promoted")
)
_TRIED_BY_OTHERS, _TRENDING, _SIMILAR_SHOPPERS, _LOOKED_AT, _POPULAR = (
    REASONS.index(name)
    for name in ("tried_by_others", "trending", "similar_shoppers", "looked_at", "popular")
)
_DUE_FROM, _DUE_UNTIL = DUE


def facts(inputs: NDArray[np.float32], popular: float) -> NDArray[np.bool_]:
    """Which reasons are true of candidates with features [K, len(NAMES)], [K, reasons].

    `popular` is what `popular_from` gives for all that is available.
    """
    made: NDArray[np.bool_] = _facts(inputs, np.float32(popular))
    return made


@compiled
def _facts(x: NDArray[np.float32], popular: np.float32) -> Any:
    """In the order of `REASONS`."""
    true = np.zeros((len(x), _REASONS), np.bool_)
    for k in range(len(x)):
        seen = x[k, _SEEN] > 0
        true[k, _BOUGHT_BEFORE] = seen
        true[k, _IS_DUE] = seen and _DUE_FROM <= x[k, _DUE] <= _DUE_UNTIL
        type_seen, category_seen = x[k, _TYPE_SEEN] > 0, x[k, _CATEGORY_SEEN] > 0
        # what follows tells nothing
        true[k, _BUYS_TYPE] = type_seen and not seen
        true[k, _BUYS_CATEGORY] = category_seen and not type_seen
        promoted = max(x[k, _MAILER], x[k, _DISPLAY], x[k, _AT_STORE], x[k, _IN_STORE])
        true[k, _PROMOTED] = promoted > 0
        true[k, _TRIED_BY_OTHERS], true[k, _TRENDING] = (
            x[k, _TRIED] > TRIED,
            x[k, _TREND] > TRENDING,
        )
        true[k, _SIMILAR_SHOPPERS], true[k, _LOOKED_AT] = x[k, _LIKED] > SIMILAR, x[k, _LOOKED] > 0
        true[k, _POPULAR] = x[k, _WEEK] >= popular
    return true


def rarity(true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How informative each reason is about a shopper's candidates [K, reasons].

    The rarer it is among them, the more.
    """
    rare: NDArray[np.float64] = -np.log(true.sum(0) / (len(true) + 1) + 1e-9)
    return rare


def why(
    ranker: Ranker, inputs: NDArray[np.float32], weights: NDArray[np.float64]
) -> list[list[str]]:
    """Return why each product is in a list, from its candidate features [k, len(NAMES)].

    Only reasons that are true of it count, those with `weights` [k, reasons] above 0. The one is
    chosen that has the largest product of two numbers: how far the logit falls when its features
    are replaced by what is usual among candidates, and its weight.
    """
    at, which = np.nonzero(weights)
    worth = np.full(weights.shape, -np.inf)
    worth[at, which] = ranker.lifts(inputs, at, _FEATURES[which]) * weights[at, which]
    strongest = np.argsort(-worth, axis=1, kind="stable")[:, :MOST_REASONS]
    return [
        [REASONS[one] for one in mine if weight[one]]
        for mine, weight in zip(strongest.tolist(), weights.tolist(), strict=True)
    ]
