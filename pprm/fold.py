"""The fold: a shopper's events into the state, one after the other. Pure, idempotent, bounded, each event in O(1)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pprm.events import Event, Interaction, Kind, Profile
from pprm.user_state import (
    BASKET_DECAY,
    COUNTERS,
    DAY,
    HALF_LIVES,
    INTERACTION,
    KEY,
    MAX_PRODUCTS,
    MAX_SEQUENCE,
    MAX_TEXT_BYTES,
    WATERMARK,
    UserState,
)


class Folded(NamedTuple):
    """A state after events, and what the fold had to say about them."""

    state: UserState
    counted: list[Interaction]
    """Purchases that entered the counters: what product popularity adds."""
    repeats: int
    """Events at or below the watermark: seen before, not applied again."""
    evicted: int
    """Products dropped because the state is full."""


def fold(state: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given; the argument stays as it was.

    Idempotent: an event at or below the watermark of its topic and partition changes nothing. Bounded: see `MAX_BYTES`.
    The counters do not depend on the order of purchases in time, so late events need no care.
    """
    new = _copy(state)
    counted: list[Interaction] = []
    repeats = evicted = 0
    for event in events:
        if not _advance(new, event):
            repeats += 1
        elif isinstance(event, Profile):
            new = _profile(new, event)
        else:
            new.active_at = max(new.active_at, event.time)
            if event.kind is Kind.PURCHASE:
                was_counted, was_full = _purchase(new, event)
                evicted += was_full
                if not was_counted:
                    continue
                counted.append(event)
            elif event.kind is Kind.REVIEW:
                new.sentiment += event.sentiment
                new.reviews += 1
            _remember(new, event)
    return Folded(new, counted, repeats, evicted)


def _copy(state: UserState) -> UserState:
    return replace(
        state,
        watermarks=bytearray(state.watermarks),
        sequence=bytearray(state.sequence),
        keys=bytearray(state.keys),
        counters=bytearray(state.counters),
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


def _purchase(state: UserState, event: Interaction) -> tuple[bool, bool]:
    """Count a purchase; returns (counted, evicted another). A product counts once per basket."""
    _basket(state, event)
    at = _find(state.keys, event.product)
    evicted = False
    if at < 0:
        evicted = _make_room(state)
        state.keys += KEY.pack(event.product)
        state.counters += COUNTERS.pack(1, 1.0, 1.0, 1.0, 1.0, event.time, event.time, state.baskets)
    elif not _count_again(state, at * COUNTERS.size, event.time):
        return False, False
    state.purchases += 1
    return True, evicted


def _basket(state: UserState, event: Interaction) -> None:
    key = event.basket or event.time
    if state.baskets and key == state.basket:
        return
    state.basket = key
    state.baskets += 1
    newest = max(state.last_purchase, event.time)
    for name, half_life in (("basket_decay28", 28.0), ("basket_decay112", 112.0)):
        kept = getattr(state, name) * _decay(newest - state.last_purchase, half_life) if state.last_purchase else 0.0
        setattr(state, name, kept + _decay(newest - event.time, half_life))
    state.last_purchase = newest
    state.first_purchase = min(state.first_purchase or event.time, event.time)


def _count_again(state: UserState, at: int, time: int) -> bool:
    count, d7, d28, d112, per_basket, first, last, basket = COUNTERS.unpack_from(state.counters, at)
    if basket == state.baskets:
        return False
    newest = max(last, time)
    decays = [
        kept * _decay(newest - last, half_life) + _decay(newest - time, half_life)
        for kept, half_life in zip((d7, d28, d112), HALF_LIVES, strict=True)
    ]
    per_basket = per_basket * BASKET_DECAY ** (state.baskets - basket) + 1.0
    COUNTERS.pack_into(state.counters, at, count + 1, *decays, per_basket, min(first, time), newest, state.baskets)
    return True


def _decay(seconds: float, half_life: float) -> float:
    return float(2.0 ** (-seconds / (DAY * half_life)))


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
    del state.keys[at * KEY.size : (at + 1) * KEY.size]
    del state.counters[at * COUNTERS.size : (at + 1) * COUNTERS.size]
    return True
