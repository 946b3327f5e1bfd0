"""The fold: a shopper's events into the state, one after the other. Pure, idempotent, bounded, each event in O(1)."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

import numpy as np

from pprm.events import Event, Interaction, Kind, Profile
from pprm.user_state import (
    BASKET,
    BASKET_DECAY,
    BROWSE_HALF_LIVES,
    BROWSED,
    COUNTERS,
    DAY,
    HALF_LIVES,
    INTERACTION,
    KEY,
    MAX_BASKETS,
    MAX_BROWSED,
    MAX_PRODUCTS,
    MAX_SEQUENCE,
    MAX_TEXT_BYTES,
    PROMOTION_DECAY,
    SENTIMENT_HALF_LIFE,
    WATERMARK,
    UserState,
)


class Counted(NamedTuple):
    """A purchase that entered the counters: what product popularity adds."""

    event: Interaction
    is_first: bool
    """The shopper's first of the product."""


class Folded(NamedTuple):
    """A state after events, and what the fold had to say about them."""

    state: UserState
    counted: list[Counted]
    repeats: int
    """Events at or below the watermark: seen before, not applied again."""
    evicted: int
    """Products dropped because the state is full."""


def fold(state: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given; the argument stays as it was. See `fold_into`."""
    return fold_into(_copy(state), events)


def fold_into(new: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given to a state that nobody else holds: it is used up.

    Idempotent: an event at or below the watermark of its topic and partition changes nothing. Bounded: see `MAX_BYTES`.
    The counters do not depend on the order of purchases in time, so late events need no care.
    """
    counted: list[Counted] = []
    repeats = evicted = 0
    for event in events:
        if not _advance(new, event):
            repeats += 1
        elif isinstance(event, Profile):
            new = _profile(new, event)
        else:
            new.active_at = max(new.active_at, event.time)
            if event.kind is Kind.PURCHASE:
                is_first, is_repeat, was_full = _purchase(new, event)
                evicted += was_full
                if is_repeat:
                    continue
                counted.append(Counted(event, is_first))
            elif event.kind is Kind.REVIEW:
                _review(new, event)
            else:
                evicted += _look(new, event)
            _remember(new, event)
    return Folded(new, counted, repeats, evicted)


def _copy(state: UserState) -> UserState:
    return replace(
        state,
        watermarks=bytearray(state.watermarks),
        sequence=bytearray(state.sequence),
        visits=bytearray(state.visits),
        keys=bytearray(state.keys),
        counters=bytearray(state.counters),
        browsed_keys=bytearray(state.browsed_keys),
        browsed=bytearray(state.browsed),
    )


def _advance(state: UserState, event: Event) -> bool:
    """Move the watermark to the event; False where it has been there before."""
    source, partition, offset = event.position
    at = source * WATERMARK.size
    seen_partition, seen_offset = WATERMARK.unpack_from(state.watermarks, at)
    if partition == seen_partition and offset <= seen_offset:
        return False
    WATERMARK.pack_into(state.watermarks, at, partition, offset)
    return True


def _profile(state: UserState, event: Profile) -> UserState:
    if event.text is None:  # forgotten: only the watermarks stay, so that a redelivery brings nothing back
        return UserState(watermarks=state.watermarks)
    state.text = event.text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore").encode()
    state.active_at = max(state.active_at, event.time)
    return state


def _remember(state: UserState, event: Interaction) -> None:
    state.sequence += INTERACTION.pack(event.product, event.time, event.kind)
    del state.sequence[: -MAX_SEQUENCE * INTERACTION.size]


def _purchase(state: UserState, event: Interaction) -> tuple[bool, bool, bool]:
    """Count a purchase; returns (first of its product, repeat within the basket, evicted another)."""
    _basket(state, event)
    at = _find(state.keys, event.product)
    is_first, evicted = at < 0, False
    if is_first:
        evicted = _make_room(state)
        state.keys += KEY.pack(event.product)
        state.counters += COUNTERS.pack(1, 1.0, 1.0, 1.0, 1.0, event.time, event.time, state.baskets, 1)
    elif not _count_again(state, at * COUNTERS.size, event.time):
        return False, True, False
    state.purchases += 1
    _into_basket(state, event)
    return is_first, False, evicted


def _basket(state: UserState, event: Interaction) -> None:
    key = event.basket or event.time
    if state.baskets and key == state.basket:
        return
    state.basket = key
    state.baskets += 1
    state.visits += BASKET.pack(event.time, event.store, 0)
    del state.visits[: -MAX_BASKETS * BASKET.size]
    newest = max(state.last_purchase, event.time)
    if state.last_purchase:
        state.basket_decay28 *= _decay(newest - state.last_purchase, 28.0)
        state.basket_decay112 *= _decay(newest - state.last_purchase, 112.0)
    state.basket_decay28 += _decay(newest - event.time, 28.0)
    state.basket_decay112 += _decay(newest - event.time, 112.0)
    state.last_purchase = newest
    state.first_purchase = min(state.first_purchase or event.time, event.time)


def _into_basket(state: UserState, event: Interaction) -> None:
    """Count the product into the size of the current basket, and its promotion into the shopper's affinity."""
    at = len(state.visits) - BASKET.size
    time, store, size = BASKET.unpack_from(state.visits, at)
    BASKET.pack_into(state.visits, at, time, store, min(size + 1, 0xFFFF))
    if event.promotion:
        mailer, display = event.promotion
        state.promotions = state.promotions * PROMOTION_DECAY + 1.0
        state.mailer = state.mailer * PROMOTION_DECAY + mailer
        state.display = state.display * PROMOTION_DECAY + display


def _count_again(state: UserState, at: int, time: int) -> bool:
    count, d7, d28, d112, per_basket, first, last, basket, ring = COUNTERS.unpack_from(state.counters, at)
    later = state.baskets - basket
    if not later:
        return False
    newest = max(last, time)
    decays = [_decayed(kept, last, time, days) for kept, days in zip((d7, d28, d112), HALF_LIVES, strict=True)]
    per_basket = per_basket * BASKET_DECAY**later + 1.0
    ring = (ring << later | 1) & _RING if later < MAX_BASKETS else 1
    first = min(first, time)
    COUNTERS.pack_into(state.counters, at, count + 1, *decays, per_basket, first, newest, state.baskets, ring)
    return True


_RING = (1 << MAX_BASKETS) - 1


def _review(state: UserState, event: Interaction) -> None:
    state.sentiment = _decayed(state.sentiment, state.reviewed_at, event.time, SENTIMENT_HALF_LIFE, event.sentiment)
    state.reviews = _decayed(state.reviews, state.reviewed_at, event.time, SENTIMENT_HALF_LIFE)
    state.reviewed_at = max(state.reviewed_at, event.time)


_BROWSE_DAYS = (*BROWSE_HALF_LIVES, *[BROWSE_HALF_LIVES[-1]] * 3)


def _look(state: UserState, event: Interaction) -> bool:
    """Count a look, or a move to or from the cart; returns whether another product had to go."""
    at, evicted = _find(state.browsed_keys, event.product), False
    if at < 0:
        evicted = _make_room_to_look(state)
        at = len(state.browsed_keys) // KEY.size
        state.browsed_keys += KEY.pack(event.product)
        state.browsed += BROWSED.pack(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, event.time)
    *kept, last = BROWSED.unpack_from(state.browsed, at * BROWSED.size)
    is_look = float(event.kind in (Kind.VIEW, Kind.SEARCH_CLICK))
    added = (is_look, is_look, is_look, float(event.kind is Kind.ADD_TO_CART),
             float(event.kind is Kind.REMOVE_FROM_CART), event.dwell / 60)  # fmt: skip
    counters = map(_decayed, kept, repeat(last), repeat(event.time), _BROWSE_DAYS, added)
    BROWSED.pack_into(state.browsed, at * BROWSED.size, *counters, max(last, event.time))
    return evicted


def _decayed(kept: float, last: int, time: int, half_life: float, added: float = 1.0) -> float:
    """A decayed counter as of the later of `last`, its own moment, and `time`, when something is added."""
    newest = max(last, time)
    before = kept * _decay(newest - last, half_life) if kept else 0.0
    return before + added * _decay(newest - time, half_life)


def _decay(seconds: float, half_life: float) -> float:
    return float(2.0 ** (-seconds / (DAY * half_life))) if seconds else 1.0


def _find(keys: bytearray, product: int) -> int:
    """Index of a product, -1 where there is none: a search for its 8 bytes is faster than any index at this size."""
    needle, at = KEY.pack(product), -1
    while (at := keys.find(needle, at + 1)) >= 0:
        if at % KEY.size == 0:
            return at // KEY.size
    return -1


def _make_room(state: UserState) -> bool:
    """Drop the product whose 112-day counter is the smallest, if the state is full."""
    if len(state.keys) < MAX_PRODUCTS * KEY.size:
        return False
    counters = state.product_counters()
    weight = np.log2(counters["decay112"]) + counters["last"].astype(np.float64) / (DAY * HALF_LIVES[2])
    at = int(np.argmin(weight))
    del counters  # a live view forbids resizing
    _drop(state.keys, state.counters, COUNTERS.size, at)
    return True


def _make_room_to_look(state: UserState) -> bool:
    """Drop the product that was not looked at for the longest time, if there are too many."""
    if len(state.browsed_keys) < MAX_BROWSED * KEY.size:
        return False
    at = int(np.argmin(state.looked_at()[1]["last"]))
    _drop(state.browsed_keys, state.browsed, BROWSED.size, at)
    return True


def _drop(keys: bytearray, counters: bytearray, size: int, at: int) -> None:
    del keys[at * KEY.size : (at + 1) * KEY.size]
    del counters[at * size : (at + 1) * size]
