"""From scores to a list: the best products, in an order that is always the same, and why each is in it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pprm.features import CATEGORY, GLOBAL, ITEM, TYPE


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best products for one shopper, best first."""

    rows: NDArray[np.int64]
    """Catalogue rows."""
    scores: NDArray[np.float32]
    """Probabilities."""
    reasons: list[list[str]]


def top_k(scores: Tensor, k: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Columns and values of each row's k highest scores [B, N], best first, equal ones by column.

    `torch.topk` leaves open which of equal scores come out, so the k-th value is taken from it and nothing else.

    Raises:
        FloatingPointError: scores are not finite; a list made of them would be silently short.
    """
    if not k:
        return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(scores)
    threshold = torch.topk(scores, k, dim=1).values[:, -1:]
    if not bool(torch.isfinite(threshold).all()):
        raise FloatingPointError("the model gave scores that are not finite")
    user, column = torch.nonzero(scores >= threshold, as_tuple=True)
    values = scores[user, column].cpu().numpy()
    ends = np.cumsum(np.bincount(user.cpu().numpy(), minlength=len(scores)))[:-1]
    best = []
    for at, value in zip(np.split(column.cpu().numpy(), ends), np.split(values, ends), strict=True):
        order = np.lexsort((at, -value))[:k]
        best.append((at[order], value[order]))
    return best


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
