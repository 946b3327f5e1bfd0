"""The visit under way: what the shopper has done since they came, and the state from before it.

A visit goes on while less than `SESSION` passes between two things that the shopper does: buys,
looks at, puts into the cart, takes out of it. All of it follows from what the state holds.
"""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.core.compiled import compiled
from pprm.core.events import ACTS, LOOKS, Kind
from pprm.state.user_state import (
    BASKET,
    BASKET_DECAY,
    DAY,
    MAX_BASKETS,
    UserState,
    packed,
)

SESSION = 30 * 60
"""Seconds in which nothing happens, after which a visit is over."""

Hashes = NDArray[np.uint64]

BELONGS = np.array([kind == Kind.PURCHASE or kind in LOOKS for kind in ACTS])
"""By kind of act: whether it belongs to a visit."""
_IS_LOOK = np.array([kind in (Kind.VIEW, Kind.SEARCH_CLICK) for kind in ACTS])
_CART = {int(Kind.ADD_TO_CART): True, int(Kind.REMOVE_FROM_CART): False}
_ONE = np.uint64(1)


class Visit(NamedTuple):
    """A visit under way, as far as the state still knows it."""

    products: Hashes
    """Hashes of the products bought in it."""
    cart: Hashes
    """Of those put into the cart and not taken out again, bought since or not."""
    looks: Hashes
    """Of those looked at, one for each look."""
    began: int
    """Unix seconds of what it began with."""
    ends: int
    """Unix seconds from which it is over, if nothing more happens."""
    baskets: int
    """How many of the shopper's newest baskets are of it."""

    @property
    def basket(self) -> Hashes:
        """What is bought or in the cart, each once."""
        return np.union1d(self.products, self.cart)


def under_way(state: UserState, now: float, session: float = SESSION) -> Visit | None:
    """Return the visit that the shopper is in at Unix time `now`, None where they are in none."""
    if now - state.active_at >= session:
        return None
    acts = state.interactions()
    acts = acts[BELONGS[acts["kind"]]]
    # a purchase may have left the sequence, or been returned since
    times = np.sort(np.append(acts["time"], np.uint32(state.last_purchase))).astype(np.int64)
    if now - times[-1] >= session:
        return None
    pauses = np.flatnonzero(np.diff(times) >= session)
    began = int(times[pauses[-1] + 1]) if len(pauses) else int(times[0])
    counters = state.product_counters()
    baskets = _baskets(state, counters, began)
    bought = state.product_keys()[counters["basket"] > state.baskets - baskets]
    acts = acts[acts["time"] >= began]
    looks = acts["product"][_IS_LOOK[acts["kind"]]]
    return Visit(bought, _cart(acts), looks, began, int(times[-1] + session), baskets)


def _baskets(state: UserState, counters: NDArray[Any], began: int) -> int:
    """How many of the newest baskets are of a visit that began at a Unix time."""
    # a basket has the time of its first purchase, which may be before all acts that are known
    lasting = counters["basket"][counters["last"] >= began]
    earlier = np.flatnonzero(state.recent_baskets()["time"][::-1] < began)
    begun = int(earlier[0]) if len(earlier) else len(state.visits) // BASKET.size
    return max(begun, state.baskets + 1 - int(lasting.min(initial=state.baskets + 1)))


def _cart(acts: NDArray[Any]) -> Hashes:
    """What is in the cart after acts in their order."""
    last = {
        product: _CART[kind]
        for product, kind in zip(acts["product"].tolist(), acts["kind"].tolist(), strict=True)
        if kind in _CART
    }
    return np.array([product for product, is_in in last.items() if is_in], np.uint64)


def before(state: UserState, visit: Visit) -> UserState:
    """Return the state without what was bought in the visit: as it was when the shopper came.

    Looks stay. So does what cannot be taken back: what was dropped for want of room, and the
    affinity to promotions. A product's purchase before the visit has the time of its basket.
    """
    if not visit.baskets:
        return state
    came, counters, bought = copy(state), state.product_counters(), state.recent_baskets()
    purchases = int(counters["count"].sum())
    _take_out(counters, bought, state.baskets, visit.baskets)
    left = counters["count"] > 0
    came.purchases -= purchases - int(counters["count"].sum())
    came.keys = state.product_keys()[left].tobytes()
    came.newest, came.places, came.again = packed(counters[left])
    acts = state.interactions()
    inside = (acts["kind"] == Kind.PURCHASE) & (acts["time"] >= visit.began)
    came.sequence = acts[~inside].tobytes()
    came.visits = state.visits[: -visit.baskets * BASKET.size]
    _without_baskets(came, bought["time"], visit.baskets)
    return came


@compiled
def _take_out(counters: NDArray[Any], bought: NDArray[Any], baskets: int, newest: int) -> None:
    """Take the purchases of the shopper's `newest` baskets out of counters as `COUNTERS_DTYPE`.

    What was bought in them alone has a count of 0 then. `bought` are the last of all `baskets`, as
    `BASKETS_DTYPE`.
    """
    for i in range(len(counters)):
        c = counters[i]
        ago = int(baskets - np.int64(c.basket))
        if ago >= newest:
            continue
        inside, taken = int(min(newest - ago, MAX_BASKETS)), 0
        d7, d28, d112, per_basket = (
            np.float64(c.decay7), np.float64(c.decay28), np.float64(c.decay112),
            np.float64(c.basket_decay),
        )  # fmt: skip
        for place in range(inside):
            if (c.ring >> np.uint64(place)) & _ONE:
                age = _age(bought, ago + place, c.last)
                d7, d28, d112 = d7 - _left(age, 7), d28 - _left(age, 28), d112 - _left(age, 112)
                per_basket -= BASKET_DECAY ** float(place)
                taken += 1
        c.count -= np.uint32(taken)
        if c.count == 0:
            continue
        back = inside
        while back < MAX_BASKETS and not (c.ring >> np.uint64(back)) & _ONE:
            back += 1
        c.ring = c.ring >> np.uint64(back) if back < MAX_BASKETS else _ONE
        c.basket = max(c.basket - back, 1)
        age = (np.int64(c.last) - np.int64(c.first)) / DAY
        if c.count > 1:
            age = min(age, _age(bought, ago + back, c.last))
        most = np.float64(c.count)
        c.decay7 = min(max(d7 / _left(age, 7), 1.0), most)
        c.decay28 = min(max(d28 / _left(age, 28), 1.0), most)
        c.decay112 = min(max(d112 / _left(age, 112), 1.0), most)
        c.basket_decay = min(max(per_basket / BASKET_DECAY ** float(back), 1.0), most)
        c.last -= np.uint32(round(age * DAY))


@compiled
def _age(bought: NDArray[Any], ago: int, now: int) -> Any:
    """Days from a basket, so many before the newest, to a moment; at least of the oldest known."""
    seconds = float(now - np.int64(bought[max(len(bought) - 1 - ago, 0)].time))
    return max(seconds, 0.0) / DAY


@compiled
def _left(days: float, half_life: int) -> Any:
    """What is left of a purchase after so many days; never 0, for it divides."""
    return 2.0 ** -min(days / half_life, 500.0)


def _without_baskets(state: UserState, times: NDArray[np.uint32], newest: int) -> None:
    """Take the shopper's `newest` baskets out of what is counted of baskets.

    `times` are those of the last ones.
    """
    state.baskets -= newest
    if not state.baskets:
        state.basket = state.first_purchase = state.last_purchase = 0
        state.basket_decay28 = state.basket_decay112 = 0.0
        return
    last = int(times[:-newest].max(initial=state.first_purchase))
    gone = times[-newest:].astype(np.float64)
    decays = ((28.0, state.basket_decay28), (112.0, state.basket_decay112))
    state.basket_decay28, state.basket_decay112 = (
        _decayed(value, state.last_purchase, gone, last, half_life, state.baskets)
        for half_life, value in decays
    )
    state.last_purchase = last


def _decayed(
    value: float,
    then: int,
    gone: NDArray[np.float64],
    now: int,
    half_life: float,
    most: int,
) -> float:
    """Baskets decayed as of `now`, from `value` as of `then`, without those `gone` [times]."""
    rest = value - float((2.0 ** (np.minimum(gone - then, 0.0) / DAY / half_life)).sum())
    back: float = 2.0 ** min((then - now) / DAY / half_life, 500.0)
    return min(max(rest * back, 1.0), float(most))
