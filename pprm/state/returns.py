"""A return takes back what its purchase counted, as far as the state still knows it.

The purchase is the one in the basket named, where the state knows the basket, else the newest of
the product. A product's purchases in the last 64 baskets are known one by one, from its `ring`, the
baskets and the sequence. Of older ones only their share of the decayed counters is known. The visit
to the shop stays, even if its basket is empty. So does the affinity to promotions, from which no
purchase can be removed.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pprm.core.events import Interaction, Kind
from pprm.state import columns
from pprm.state.user_state import (
    AGAIN,
    BASKET,
    BASKET_DECAY,
    DAY,
    HALF_LIVES,
    INTERACTION,
    KEY,
    MAX_BASKETS,
    NEWEST,
    PLACE,
    SEQUENCE_DTYPE,
    UserState,
    basket_code,
)


class HeldPurchase(NamedTuple):
    """A purchase of a product that the state knows by itself."""

    basket: int
    """Number of the basket."""
    time: int | None
    """Unix seconds, None where that is forgotten."""
    place: int
    """Row in the sequence, -1 where it is no longer there."""


class Bought(NamedTuple):
    """What the state holds of a product."""

    purchases: int
    decays: tuple[float, float, float]
    """By `HALF_LIVES`, as of `last`."""
    per_basket: float
    """As of `basket`."""
    first: int
    last: int
    basket: int
    ring: int


class Change(NamedTuple):
    """What product popularity has to count, and how many times."""

    time: int
    is_first: bool
    times: int


def take_back(state: UserState, event: Interaction) -> list[Change]:
    """Take a purchase out of a state that nobody else holds; empty where it is not known."""
    at = columns.find(state.keys, KEY.pack(event.product))
    if at < 0:
        return []
    before = _bought(state, at)
    known = list(_purchases(state, event.product, before))
    gone = _returned(state, event, known)
    if gone is None or known[gone].time is None:
        return []
    purchase = known.pop(gone)
    after = _without(before, purchase, known, _oldest(state)) if before.purchases > 1 else None
    _put(state, at, after)
    _out_of_basket(state, purchase)
    if purchase.place >= 0:
        state.sequence = columns.without(state.sequence, INTERACTION.size, purchase.place)
    return _changes(purchase, before, after)


def _bought(state: UserState, at: int) -> Bought:
    last, basket = NEWEST.unpack_from(state.newest, at * NEWEST.size)
    row = columns.find(state.places, PLACE.pack(at))
    if row < 0:
        return Bought(1, (1.0, 1.0, 1.0), 1.0, last, last, basket, 1)
    count, d7, d28, d112, per_basket, first, ring = AGAIN.unpack_from(state.again, row * AGAIN.size)
    return Bought(count, (d7, d28, d112), per_basket, first, last, basket, ring)


def _purchases(state: UserState, product: int, bought: Bought) -> Iterator[HeldPurchase]:
    """Yield the purchases in the product's ring, the newest basket first.

    Those in the sequence are the newest ones, in the same order: a product counts once in a basket.
    """
    sequence = np.frombuffer(state.sequence, SEQUENCE_DTYPE)
    rows = np.flatnonzero((sequence["product"] == product) & (sequence["kind"] == Kind.PURCHASE))[
        ::-1
    ].tolist()
    ago = [bit for bit in range(min(MAX_BASKETS, bought.basket)) if bought.ring >> bit & 1]
    for number, bit in enumerate(ago):
        row = rows[number] if number < len(rows) else -1
        time = _time(state, bought, bit, number) if row < 0 else int(sequence["time"][row])
        yield HeldPurchase(
            bought.basket - bit, time if time is None else min(time, bought.last), row
        )


def _time(state: UserState, bought: Bought, ago: int, number: int) -> int | None:
    """Return the time of a purchase that has left the sequence.

    It is its basket's time: all lines of a basket are taken to be of one time.
    """
    if number == 0:
        return bought.last
    if number == bought.purchases - 1:
        return bought.first
    row = _row(state, bought.basket - ago)
    return BASKET.unpack_from(state.visits, row * BASKET.size)[0] if row >= 0 else None


def _row(state: UserState, basket: int) -> int:
    """Row of a basket in `visits`; below 0 where it is no longer there."""
    return basket - 1 - (state.baskets - len(state.visits) // BASKET.size)


def _returned(state: UserState, event: Interaction, known: Sequence[HeldPurchase]) -> int | None:
    """Return the index of the purchase meant; None if the basket named lacks the product."""
    if event.basket:
        code = basket_code(event.basket)
        visits = state.recent_baskets()["key"].tolist()
        named = {state.baskets - ago for ago, key in enumerate(reversed(visits)) if key == code}
        if named:
            return next((number for number, one in enumerate(known) if one.basket in named), None)
    return 0


_HALF_LIFE = -1 / math.log2(BASKET_DECAY)
"""Half-life of `BASKET_DECAY`, in baskets."""


def _oldest(state: UserState) -> int:
    """Time of the oldest basket that is known by itself."""
    return int(BASKET.unpack_from(state.visits)[0])


def _without(
    before: Bought, gone: HeldPurchase, known: Sequence[HeldPurchase], oldest: int
) -> Bought:
    """Return what is left of a product bought before without one of its purchases.

    The counters are added up anew from the purchases that are `known`, and from the share of those
    that are not. Where none is known, the newest of several was no later than the `oldest` basket.
    """
    assert gone.time is not None
    times = [one.time for one in known if one.time is not None]
    others = max(before.purchases - 1 - len(times), 0)
    none_known = (
        before.first if before.purchases == 2 else max(min(oldest, before.last), before.first)
    )
    last = max(times, default=none_known)
    first = before.first if others else min(times)
    basket = known[0].basket if known else max(gone.basket - MAX_BASKETS, 1)
    decays = [
        _decayed(value, [*times, gone.time], times, others, before.last, last, DAY * days)
        for value, days in zip(before.decays, HALF_LIVES, strict=True)
    ]
    numbers = [one.basket for one in known]
    per_basket = _decayed(
        before.per_basket,
        [*numbers, gone.basket],
        numbers,
        max(before.purchases - 1 - len(numbers), 0),
        before.basket,
        basket,
        _HALF_LIFE,
    )
    ring = sum(1 << basket - number for number in numbers) or 1
    return Bought(
        before.purchases - 1,
        (decays[0], decays[1], decays[2]),
        per_basket,
        first,
        last,
        basket,
        ring,
    )


def _decayed(
    value: float,
    before: Sequence[int],
    after: Sequence[int],
    others: int,
    then: int,
    now: int,
    half_life: float,
) -> float:
    """Return a decayed counter as of `now`, from its `value` as of `then`.

    Purchases whose times are known are added up anew: `before` are those that made up `value`,
    `after` those that are left. The `others` purchases, whose times are forgotten, had the rest of
    `value`. That rest is at most one for each of them: a `value` of long ago is rounded coarsely,
    and must not make more of them than there were.
    """

    def summed(times: Sequence[int], at: int) -> float:
        return math.fsum(2.0 ** min((time - at) / half_life, 0.0) for time in times)

    rest = max(value - summed(before, then), 0.0) if others else 0.0
    back = min((then - now) / half_life, 64.0)
    return max(summed(after, now) + min(rest * float(2.0**back), others), 1.0)


def _put(state: UserState, at: int, bought: Bought | None) -> None:
    """Hold what is left of the product at this place; None: nothing."""
    if bought is None:
        state.keys = columns.without(state.keys, KEY.size, at)
        state.newest = columns.without(state.newest, NEWEST.size, at)
        state.places, state.again = columns.without_product(
            state.places, state.again, AGAIN.size, at
        )
        return
    newest = NEWEST.pack(bought.last, bought.basket)
    state.newest = columns.replaced(state.newest, at * NEWEST.size, newest)
    if bought.purchases == 1:  # its counters follow
        state.places, state.again = columns.not_held(state.places, state.again, AGAIN.size, at)
        return
    row = columns.find(state.places, PLACE.pack(at))
    counted = AGAIN.pack(
        bought.purchases, *bought.decays, bought.per_basket, bought.first, bought.ring
    )
    state.again = columns.replaced(state.again, row * AGAIN.size, counted)


def _out_of_basket(state: UserState, gone: HeldPurchase) -> None:
    state.purchases -= 1
    if (row := _row(state, gone.basket)) >= 0:
        time, store, key, size = BASKET.unpack_from(state.visits, row * BASKET.size)
        basket = BASKET.pack(time, store, key, max(size - 1, 0))
        state.visits = columns.replaced(state.visits, row * BASKET.size, basket)


def _changes(gone: HeldPurchase, before: Bought, after: Bought | None) -> list[Change]:
    """Remove a purchase from the counters.

    Where it was the shopper's first of the product, the next one becomes the first.
    """
    assert gone.time is not None
    was_first = gone.time == before.first
    if after is None or not was_first or after.first == before.first:
        return [Change(gone.time, was_first and after is None, -1)]
    return [
        Change(gone.time, True, -1),
        Change(after.first, False, -1),
        Change(after.first, True, 1),
    ]
