"""The fold: a shopper's events into the state, one after the other.

Pure, idempotent, bounded, each event in O(1).
"""

import struct
from collections.abc import Iterable
from copy import copy
from itertools import repeat

import numpy as np
from msgspec import Struct

from pprm.core.events import Event, Interaction, Kind, Profile, Request, topic_of
from pprm.state import columns, hidden, returns, watermarks
from pprm.state.user_state import (
    AGAIN,
    BASKET,
    BASKET_DECAY,
    BROWSE_HALF_LIVES,
    DAY,
    HALF_LIVES,
    INTERACTION,
    KEY,
    LOOKS,
    MAX_BASKETS,
    MAX_BROWSED,
    MAX_PRODUCTS,
    MAX_SEQUENCE,
    MAX_TEXT_BYTES,
    NEWEST,
    PROMOTION_DECAY,
    SENTIMENT_HALF_LIFE,
    TIME,
    UserState,
    basket_code,
)
from pprm.state.watermarks import Watermarks


class Counted(Struct, frozen=True, gc=False):
    """A purchase that entered the counters, or left them: what product popularity adds."""

    event: Interaction
    is_first: bool
    """The shopper's first of the product."""
    times: int = 1
    """-1: taken back."""


WITHOUT_EFFECT = ("duplicate", "unbought", "nothing")
"""Why an event counts for nothing: published before, a return of what is unbought, or of none.

Its watermark has moved all the same.
"""


class Folded(Struct, gc=False):
    """A state after events, and what the fold had to say about them."""

    state: UserState
    counted: list[Counted] = []
    repeats: int = 0
    """Events at or below the watermark: delivered before, not applied again."""
    without_effect: list[tuple[int, str]] = []
    """Events that counted for nothing: source (`events.Position`) and why, of `WITHOUT_EFFECT`."""
    evicted: int = 0
    """Products dropped because the state is full."""


def fold(state: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given; the argument stays as it was.

    See `fold_into`.
    """
    return fold_into(copy(state), events)


def fold_into(new: UserState, events: Iterable[Event]) -> Folded:
    """Apply a shopper's events in the order given to a state that nobody else holds: it is used up.

    Idempotent: an event at or below the watermark of its topic and partition changes nothing, and
    one that has the fingerprint of one of the last of its topic moves the watermark only. Bounded:
    see `MAX_BYTES`. The counters do not depend on the order of purchases in time, so late events
    need no care.
    """
    folded, acts = Folded(new), list[Interaction]()  # acts: for the sequence, which is written once
    known = watermarks.unpack(new.base, new.watermarks, new.fingerprints)
    for event in events:
        if not known.advance(event.position):
            folded.repeats += 1
        elif isinstance(event, Profile):
            _profile(folded, event, acts, known)
        elif isinstance(event, Request):
            folded.state.active_at = max(folded.state.active_at, event.time)
        elif not known.is_new(topic_of(event.position.source), event.fingerprint):
            folded.without_effect.append((event.position.source, "duplicate"))
        # it may remove purchases from the sequence, so what came before must be in there
        elif event.kind > _REVIEWED:
            _remember(folded.state, acts)
            acts.clear()
            _unlike_an_act(folded, event)
        else:
            _act(folded, event, acts)
    new = folded.state
    _remember(new, acts)
    new.base = known.base
    new.watermarks, new.fingerprints = known.pack()
    return folded


_BOUGHT, _REVIEWED, _VIEWED, _CLICKED = Kind.PURCHASE, Kind.REVIEW, Kind.VIEW, Kind.SEARCH_CLICK
_ADDED, _REMOVED, _RETURNED, _DISLIKED = (
    Kind.ADD_TO_CART,
    Kind.REMOVE_FROM_CART,
    Kind.RETURN,
    Kind.DISLIKE,
)
"""Looked up once: an enum's attribute costs as much as a step of the fold."""


def _profile(folded: Folded, event: Profile, acts: list[Interaction], known: Watermarks) -> None:
    state = folded.state
    # forgotten: only the watermarks stay, so that a redelivery brings nothing back
    if event.text is None:
        acts.clear()
        known.forget()
        folded.state = UserState()
        return
    state.text = event.text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore").encode()
    state.active_at = max(state.active_at, event.time)


def _act(folded: Folded, event: Interaction, acts: list[Interaction]) -> None:
    """Count what the shopper did with a product."""
    state = folded.state
    if event.time > state.active_at:
        state.active_at = event.time
    if event.kind is _BOUGHT:
        is_first, is_repeat, evicted = _purchase(state, event)
        folded.evicted += evicted
        if is_repeat:
            return
        folded.counted.append(Counted(event, is_first))
    elif event.kind is _REVIEWED:
        _review(state, event)
    else:
        folded.evicted += _look(state, event)
    acts.append(event)


def _unlike_an_act(folded: Folded, event: Interaction) -> None:
    """Take back a purchase, or hide a product.

    The sequence does not show these events, but they may remove purchases from it.
    """
    state = folded.state
    if event.kind is _RETURNED:
        changes = returns.take_back(state, event)
        folded.counted += [_change(event, *change) for change in changes]
        if not changes:
            folded.without_effect.append((event.position.source, "unbought"))
            return
    elif event.kind is Kind.NOTHING:
        folded.without_effect.append((event.position.source, "nothing"))
        return
    else:
        hidden.hide(state, event.product)
        if event.kind is _DISLIKED:
            hidden.forget_looks(state, event.product)
    state.active_at = max(state.active_at, event.time)


def _change(event: Interaction, time: int, is_first: bool, times: int) -> Counted:
    return Counted(Interaction(event.position, _BOUGHT, event.product, time), is_first, times)


def _remember(state: UserState, acts: Iterable[Interaction]) -> None:
    packed = [INTERACTION.pack(act.product, act.time, act.kind) for act in acts]
    state.sequence = b"".join((state.sequence, *packed))[-_SEQUENCE_BYTES:]


_SEQUENCE_BYTES = MAX_SEQUENCE * INTERACTION.size
_BASKETS_BYTES = MAX_BASKETS * BASKET.size


def _purchase(state: UserState, event: Interaction) -> tuple[bool, bool, bool]:
    """Count a purchase.

    Returns (first of its product, repeat within the basket, evicted another).
    """
    _basket(state, event)
    key = KEY.pack(event.product)
    at = columns.find(state.keys, key)
    is_first, evicted = at < 0, False
    if is_first:
        evicted = _make_room(state)
        state.keys += key
        state.newest += NEWEST.pack(event.time, state.baskets)
    elif not _count_again(state, at, event.time):
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
    kept = state.visits if len(state.visits) < _BASKETS_BYTES else state.visits[BASKET.size :]
    state.visits = kept + BASKET.pack(event.time, event.store, basket_code(key), 0)
    state.basket_decay28 = _decayed(state.basket_decay28, state.last_purchase, event.time, 28.0)
    state.basket_decay112 = _decayed(state.basket_decay112, state.last_purchase, event.time, 112.0)
    state.last_purchase = max(state.last_purchase, event.time)
    state.first_purchase = min(state.first_purchase or event.time, event.time)


def _into_basket(state: UserState, event: Interaction) -> None:
    """Count a product into the current basket's size, and its promotion into the affinity."""
    (size,) = _SIZE.unpack_from(state.visits, len(state.visits) - _SIZE.size)
    if size < 0xFFFF:
        state.visits = state.visits[: -_SIZE.size] + _SIZE.pack(size + 1)
    if event.promotion:
        mailer, display = event.promotion
        state.promotions = state.promotions * PROMOTION_DECAY + 1.0
        state.mailer = state.mailer * PROMOTION_DECAY + mailer
        state.display = state.display * PROMOTION_DECAY + display


_SIZE = struct.Struct("<H")
"""A basket's last part: how many products it holds."""


def _count_again(state: UserState, product: int, time: int) -> bool:
    last, basket = NEWEST.unpack_from(state.newest, product * NEWEST.size)
    later = state.baskets - basket
    if not later:
        return False
    bought_once = AGAIN.pack(1, 1.0, 1.0, 1.0, 1.0, last, 1)
    row, state.places, state.again = columns.held(state.places, state.again, product, bought_once)
    at = row * AGAIN.size
    count, d7, d28, d112, per_basket, first, ring = AGAIN.unpack_from(state.again, at)
    d7, d28, d112 = (
        _decayed(d7, last, time, _D7),
        _decayed(d28, last, time, _D28),
        _decayed(d112, last, time, _D112),
    )
    per_basket = per_basket * BASKET_DECAY**later + 1.0
    ring = (ring << later | 1) & _RING if later < MAX_BASKETS else 1
    counted = AGAIN.pack(count + 1, d7, d28, d112, per_basket, min(first, time), ring)
    state.again = columns.replaced(state.again, at, counted)
    state.newest = columns.replaced(
        state.newest, product * NEWEST.size, NEWEST.pack(max(last, time), state.baskets)
    )
    return True


_RING = (1 << MAX_BASKETS) - 1
_D7, _D28, _D112 = HALF_LIVES


def _review(state: UserState, event: Interaction) -> None:
    state.sentiment = _decayed(
        state.sentiment, state.reviewed_at, event.time, SENTIMENT_HALF_LIFE, event.sentiment
    )
    state.reviews = _decayed(state.reviews, state.reviewed_at, event.time, SENTIMENT_HALF_LIFE)
    state.reviewed_at = max(state.reviewed_at, event.time)


_BROWSE_DAYS = (*BROWSE_HALF_LIVES, *[BROWSE_HALF_LIVES[-1]] * 3)
_NOTHING, _ONE_LOOK = LOOKS.pack(0, 0, 0, 0, 0, 0), LOOKS.pack(1, 1, 1, 0, 0, 0)


def _look(state: UserState, event: Interaction) -> bool:
    """Count a look, or a move to or from the cart; returns whether another product had to go."""
    key, is_look = KEY.pack(event.product), event.kind is _VIEWED or event.kind is _CLICKED
    at, evicted = columns.find(state.browsed_keys, key), False
    if at < 0:
        evicted = _make_room_to_look(state)
        at, last = len(state.browsed_keys) // KEY.size, event.time
        state.browsed_keys += key
        state.browsed_at += TIME.pack(last)
        if is_look and not event.dwell:  # its counters follow
            return evicted
        before = _NOTHING
    else:
        (last,) = TIME.unpack_from(state.browsed_at, at * TIME.size)
        before = _ONE_LOOK
    row, state.look_places, state.looks = columns.held(state.look_places, state.looks, at, before)
    kept = LOOKS.unpack_from(state.looks, row * LOOKS.size)
    added = (
        is_look,
        is_look,
        is_look,
        event.kind is _ADDED,
        event.kind is _REMOVED,
        event.dwell / 60,
    )
    counters = map(_decayed, kept, repeat(last), repeat(event.time), _BROWSE_DAYS, added)
    state.looks = columns.replaced(state.looks, row * LOOKS.size, LOOKS.pack(*counters))
    if event.time > last:
        state.browsed_at = columns.replaced(state.browsed_at, at * TIME.size, TIME.pack(event.time))
    return evicted


def _decayed(kept: float, last: int, time: int, half_life: float, added: float = 1.0) -> float:
    """A decayed counter with something added, as of the later of `last` and `time`."""
    if time < last:
        return kept + added * _decay(last - time, half_life)
    return kept * _decay(time - last, half_life) + added if kept else added


def _decay(seconds: int, half_life: float) -> float:
    return 2.0 ** (-seconds / (DAY * half_life)) if seconds else 1.0


def _make_room(state: UserState) -> bool:
    """Drop the product whose 112-day counter is the smallest, if the state is full."""
    if len(state.keys) < MAX_PRODUCTS * KEY.size:
        return False
    counters = state.product_counters()
    weight = np.log2(counters["decay112"]) + counters["last"].astype(np.float64) / (
        DAY * HALF_LIVES[2]
    )
    at = int(np.argmin(weight))
    state.keys, state.newest = (
        columns.without(state.keys, KEY.size, at),
        columns.without(state.newest, NEWEST.size, at),
    )
    state.places, state.again = columns.without_product(state.places, state.again, AGAIN.size, at)
    return True


def _make_room_to_look(state: UserState) -> bool:
    """Drop the product that was not looked at for the longest time, if there are too many."""
    if len(state.browsed_keys) < MAX_BROWSED * KEY.size:
        return False
    at = int(np.argmin(np.frombuffer(state.browsed_at, "<u4")))
    state.browsed_keys = columns.without(state.browsed_keys, KEY.size, at)
    state.browsed_at = columns.without(state.browsed_at, TIME.size, at)
    state.look_places, state.looks = columns.without_product(
        state.look_places, state.looks, LOOKS.size, at
    )
    return True
