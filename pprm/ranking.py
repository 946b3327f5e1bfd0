"""From scores to a list: the best products, in an order that is always the same, and why each is in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pprm.candidate_features import COLUMNS, GROUPS, NAMES, ranks
from pprm.features import CATEGORY, GLOBAL, ITEM, TYPE
from pprm.metrics import top
from pprm.second_pass import SecondPass


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best products for one shopper, best first."""

    rows: NDArray[np.int64]
    """Catalogue rows."""
    scores: NDArray[np.float32]
    """Probabilities."""
    reasons: list[list[str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a shop wants of its lists, whatever the scores."""

    exclude_bought_days: float = 0.0
    """Leave out what the shopper bought within so many days: fashion does not repeat, groceries do."""
    most_of_a_type: int | None = None
    """So many products of one type at most, so that a list is not ten kinds of yogurt."""


NO_RULES = Rules()


def pick(scores: NDArray[np.float32], types: NDArray[np.int32], k: int, rules: Rules) -> NDArray[np.int64]:
    """Indices of the best of K scored products, best first, equal ones in their order; only finite ones are picked."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = top(scores, k=k if rules.most_of_a_type is None else len(scores))
    order = order[scores[order] > -np.inf]
    if rules.most_of_a_type is not None:
        order = order[ranks(np.arange(len(order)), types[order]) < rules.most_of_a_type]
    return order[:k]


_SEEN, _DUE = ITEM.index("seen"), ITEM.index("due")
_TYPE_SEEN, _CATEGORY_SEEN = TYPE.stop - 1, CATEGORY.stop - 1


def reasons(cross: NDArray[np.float32]) -> list[str]:
    """Why a product is in a list, from its cross features [40]: what is true of it, the strongest first."""
    if cross[_SEEN]:
        return ["bought_before", "due"] if 0.35 <= cross[_DUE] <= 1 else ["bought_before"]
    if cross[_TYPE_SEEN]:
        return ["buys_type"]
    if cross[_CATEGORY_SEEN]:
        return ["buys_category"]
    return ["popular"] if cross[GLOBAL].any() else []


def _columns(group: str, *names: str) -> list[int]:
    return [COLUMNS[group].start + GROUPS[group].index(name) for name in names]


_PROMOTED = _columns("promotion", "mailer", "display", "store_display", "store_mailer")
(_TRIED,), (_TREND,), (_LIKED,), (_LOOKED,) = (
    _columns("trial", "first_trend"), _columns("fast", "week_trend"), _columns("factors", "factors"),
    _columns("browse", "recency"),
)  # fmt: skip
_FACTS: tuple[tuple[str, str, Callable[[NDArray[np.float32]], Any]], ...] = (
    ("bought_before", "pattern", lambda x: x[:, _SEEN] > 0),
    ("due", "hazard", lambda x: (x[:, _SEEN] > 0) & (x[:, _DUE] >= 0.35) & (x[:, _DUE] <= 1)),
    ("buys_type", "type_pattern", lambda x: x[:, _TYPE_SEEN] > 0),
    ("buys_category", "first_stage_input", lambda x: x[:, _CATEGORY_SEEN] > 0),
    ("promoted", "promotion", lambda x: (x[:, _PROMOTED] > 0).any(1)),
    ("tried_by_others", "trial", lambda x: x[:, _TRIED] > 0.1),
    ("trending", "fast", lambda x: x[:, _TREND] > 0.1),
    ("similar_shoppers", "factors", lambda x: x[:, _LIKED] > 0.05),
    ("looked_at", "browse", lambda x: x[:, _LOOKED] > 0),
    ("popular", "first_stage", lambda x: x[:, GLOBAL].any(1)),
)
"""Reasons: the group of features that may have lifted a product for it, and of which of them it is true."""
_OF_FACT = np.array([[name.startswith(f"{group}.") for name in NAMES] for _, group, _ in _FACTS])
"""Columns of the group of each, [facts, len(NAMES)]."""
MOST_REASONS = 2


def why(second: SecondPass, inputs: NDArray[np.float32]) -> list[list[str]]:
    """Why each product is in a list, from its candidate features [k, len(NAMES)].

    Of what is true of it, that whose group of features lifted it most: by how much the logit falls when the group is
    replaced by what is usual among candidates.
    """
    true = np.stack([holds(inputs) for _, _, holds in _FACTS], 1)
    at, facts = np.nonzero(true)
    lifts = np.full(true.shape, -np.inf, np.float32)
    lifts[at, facts] = second.lifts(inputs, at, _OF_FACT[facts])
    strongest = np.argsort(-lifts, axis=1, kind="stable")[:, :MOST_REASONS]
    return [
        [_FACTS[fact][0] for fact in mine if holds[fact]]
        for mine, holds in zip(strongest.tolist(), true.tolist(), strict=True)
    ]
