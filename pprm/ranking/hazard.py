"""How likely a visit brings a product again, by the time since it was last bought.

This is the hazard of the gap.

Counted over all shoppers, per product and per type, in buckets of days. A visit of somebody who
bought a product before is an exposure in the bucket of the gap; if the visit brings it, a return.
Rare products are shrunk to their type, rare types to all. Tables of a period are learned from what
was before it, and go into the artifact.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pprm.core.arrays import Floats
from pprm.state.user_state import DAY

EDGES = np.array([0.5, 1.5, 3.5, 5.5, 7.5, 10.5, 14.5, 21.5, 28.5, 42.5, 63.5, 91.5, 140.5])
"""Days between the buckets."""
BUCKETS = len(EDGES) + 1
PRODUCT_PRIOR, TYPE_PRIOR = 100.0, 200.0
"""Exposures that a product's type, and all types, count for."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """Log probabilities of a return by bucket."""

    product: Floats
    """[products, BUCKETS]"""
    type: Floats
    """[types, BUCKETS]"""
    all: Floats
    """Of products, and of types, where nothing else is known, [2, BUCKETS]."""


def bucket(days: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bucket of gaps in days."""
    return np.searchsorted(EDGES, days)


def fit(
    user: NDArray[np.int32],
    product: NDArray[np.int32],
    time: NDArray[np.int64],
    type_of: NDArray[np.int32],
    types: int,
) -> Hazard:
    """Count purchases [events], in time order; `type_of` [products] gives each product's type.

    A visit is all that a shopper bought at one time.
    """
    exposed, returned = _count(user, product, time, len(type_of))
    type_exposed, type_returned = _count(user, type_of[product], time, types)
    everything = _rate(returned.sum(0), exposed.sum(0))
    by_type = (_sum(returned, type_of, types) + TYPE_PRIOR * everything) / (
        _sum(exposed, type_of, types) + TYPE_PRIOR
    )
    all_types = _rate(type_returned.sum(0), type_exposed.sum(0))
    return Hazard(
        _log((returned + PRODUCT_PRIOR * by_type[type_of]) / (exposed + PRODUCT_PRIOR)),
        _log((type_returned + TYPE_PRIOR * all_types) / (type_exposed + TYPE_PRIOR)),
        _log(np.stack([everything, all_types])),
    )


def _count(
    user: NDArray[np.int32], key: NDArray[np.int32], time: NDArray[np.int64], keys: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exposures and returns, [keys, BUCKETS] each."""
    exposed, returned = np.zeros((keys, BUCKETS)), np.zeros((keys, BUCKETS))
    order = np.lexsort((time, user))
    bounds = np.searchsorted(user[order], np.arange(int(user.max(initial=-1)) + 2))
    for start, stop in pairwise(bounds):
        mine = order[start:stop]
        if not len(mine):
            continue
        _count_shopper(key[mine], time[mine], exposed, returned)
    return exposed, returned


def _count_shopper(
    key: NDArray[np.int32],
    time: NDArray[np.int64],
    exposed: NDArray[np.float64],
    returned: NDArray[np.float64],
) -> None:
    visits = np.unique(time) / DAY
    # by key, then time; one a visit
    once = np.unique(np.stack([key.astype(np.int64), time], 1), axis=0)
    key, at = once[:, 0], once[:, 1] / DAY
    again = np.r_[key[1:] == key[:-1], False]
    # visits after the purchase: up to the next purchase of the key, or to the last
    after = np.searchsorted(visits, at, side="right")
    last = np.where(again, np.searchsorted(visits, np.r_[at[1:], 0.0], side="right"), len(visits))
    # visits until the end of each bucket
    upto = np.searchsorted(visits, at[:, None] + EDGES, side="right")
    cuts = np.clip(
        np.concatenate([after[:, None], upto, last[:, None]], 1), after[:, None], last[:, None]
    )
    np.add.at(exposed, key, np.diff(cuts, axis=1))
    gaps = np.diff(at)[again[:-1]]
    np.add.at(returned, (key[:-1][again[:-1]], bucket(gaps)), 1)


def _sum(values: NDArray[np.float64], group: NDArray[np.int32], groups: int) -> NDArray[np.float64]:
    out = np.zeros((groups, BUCKETS))
    np.add.at(out, group, values)
    return out


def _rate(returned: NDArray[np.float64], exposed: NDArray[np.float64]) -> NDArray[np.float64]:
    return (returned + 0.5) / (exposed + 1.0)


def _log(rates: NDArray[np.float64]) -> Floats:
    return np.log(np.maximum(rates, 1e-6)).astype(np.float32)
