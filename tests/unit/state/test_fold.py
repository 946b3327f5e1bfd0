"""The fold against a plain recount of the raw events, however often and cut they come."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pprm.core.events import ACTS, SOURCE_OF, Event, Interaction, Kind, Position, Profile, Request
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import (
    BASKET,
    MAX_BASKETS,
    MAX_BROWSED,
    MAX_BYTES,
    MAX_PRODUCTS,
    MAX_SEQUENCE,
    StateError,
    UserState,
    decode,
    encode,
    publish,
    publish_unasked,
)
from pprm.state.watermarks import RECORD
from tests.unit.state import wide_counters

DAY = 86_400
START = 1_500_000_000


@st.composite
def histories(draw: st.DrawFn, kinds: Sequence[Kind] = ACTS) -> list[Event]:
    """A shopper's records over four topics, offsets rising per topic, times in any order."""
    offsets: dict[int, int] = defaultdict(int)
    events: list[Event] = []
    for _ in range(draw(st.integers(0, 40))):
        kind = draw(st.sampled_from([*kinds, None]))
        time = START + draw(st.integers(0, 300)) * DAY
        source = 3 if kind is None else SOURCE_OF[kind]
        offsets[source] += draw(st.integers(1, 3))
        position = Position(source, 1, offsets[source])
        if kind is None:
            events.append(Profile(position, time, draw(st.text(max_size=2000))))
        else:
            product, basket = draw(st.integers(1, 8)), draw(st.integers(0, 5))
            sentiment = draw(st.floats(-1, 1)) if kind is Kind.REVIEW else 0.0
            dwell = draw(st.sampled_from([0.0, 0.0, 45.0])) if source == 1 else 0.0
            events.append(
                Interaction(position, kind, product, time, basket, sentiment, dwell=dwell)
            )
    return events


def recount(events: list[Event]) -> dict[int, tuple[int, float, float, float, int, int]]:
    """Per product: count, decayed counts as of its newest purchase, first and last time."""
    bought: dict[int, list[int]] = defaultdict(list)
    basket, counted = None, set[int]()
    for event in events:
        if not isinstance(event, Interaction) or event.kind is not Kind.PURCHASE:
            continue
        key = event.basket or event.time
        if key != basket:
            basket, counted = key, set()
        if event.product not in counted:
            counted.add(event.product)
            bought[event.product].append(event.time)
    return {
        product: (
            len(times),
            *(sum(2 ** (-(max(times) - t) / DAY / h) for t in times) for h in (7, 28, 112)),
            min(times),
            max(times),
        )
        for product, times in bought.items()
    }  # type: ignore[return-value]


@pytest.mark.parametrize("most", [3, MAX_PRODUCTS])
@given(events=histories(), cuts=st.sets(st.integers(0, 40), max_size=3))
def test_counters_that_are_not_held_are_those_that_the_fold_would_have_kept(
    most: int, events: list[Event], cuts: set[int]
) -> None:
    """Bit for bit, whatever was evicted, and however often the state went through bytes."""
    products, counters = wide_counters.folded(events, most)
    state = UserState()
    with mock.patch("pprm.state.fold.MAX_PRODUCTS", most):
        for start, stop in pairwise([0, *sorted(cuts), len(events)]):
            state = decode(encode(fold(state, events[start:stop]).state))
    assert state.product_keys().tolist() == products
    assert state.product_counters().tobytes() == counters.tobytes()


@pytest.mark.parametrize("most", [3, MAX_BROWSED])
@given(events=histories(), cuts=st.sets(st.integers(0, 40), max_size=3))
def test_looks_that_are_not_held_are_those_that_the_fold_would_have_kept(
    most: int, events: list[Event], cuts: set[int]
) -> None:
    """Bit for bit, whatever was evicted, and however often the state went through bytes."""
    products, counters = wide_counters.looked(events, most)
    state = UserState()
    with mock.patch("pprm.state.fold.MAX_BROWSED", most):
        for start, stop in pairwise([0, *sorted(cuts), len(events)]):
            state = decode(encode(fold(state, events[start:stop]).state))
    keys, looks = state.looked_at()
    assert keys.tolist() == products and looks.tobytes() == counters.tobytes()


def test_what_is_held_stays_with_its_product_when_one_before_it_goes() -> None:
    """Of the products bought and looked at 1 goes.

    2 and 3 have counters of their own, whose places move up.
    """
    kinds = ((Kind.PURCHASE, 0), (Kind.VIEW, 1))
    events = [
        Interaction(Position(source, 0, day), kind, product, START + day * DAY)
        for kind, source in kinds
        for day, product in enumerate((1, 2, 3, 2, 3, 3, 4))
    ]
    with (
        mock.patch("pprm.state.fold.MAX_PRODUCTS", 3),
        mock.patch("pprm.state.fold.MAX_BROWSED", 3),
    ):
        state = decode(encode(fold(UserState(), events).state))
    keys, looks = state.looked_at()
    assert keys.tolist() == [2, 3, 4] == state.product_keys().tolist()
    assert state.product_counters()["count"].tolist() == [2, 3, 1]
    assert np.allclose(looks["week"], [1.8, 2.6, 1.0], atol=0.05)


def test_the_size_of_a_basket_ends_where_its_two_bytes_do() -> None:
    first, *more = (
        Interaction(Position(0, 0, i), Kind.PURCHASE, i + 1, START, 7) for i in range(4)
    )
    state = replace(fold(UserState(), [first]).state, visits=BASKET.pack(START, 0, 7, 0xFFFE))
    state = fold(state, more).state
    assert state.recent_baskets()["size"].tolist() == [0xFFFF] and state.purchases == 4


def test_a_product_looked_at_once_takes_twelve_bytes() -> None:
    events = [Interaction(Position(1, 0, i), Kind.VIEW, i + 1, START + i) for i in range(20)]
    state = fold(UserState(), events).state
    assert (
        len(state.browsed_keys) + len(state.browsed_at) == 20 * 12
        and not state.look_places
        and not state.looks
    )


@given(histories())
def test_counters_equal_a_recount_of_the_raw_events(events: list[Event]) -> None:
    state = fold(UserState(), events).state
    counters = state.product_counters()
    wanted = recount(events)
    assert set(state.product_keys().tolist()) == set(wanted)
    for product, row in zip(state.product_keys().tolist(), counters, strict=True):
        count, d7, d28, d112, first, last = wanted[product]
        assert (row["count"], row["first"], row["last"]) == (count, first, last)
        assert np.allclose(
            [row["decay7"], row["decay28"], row["decay112"]], [d7, d28, d112], rtol=1e-5
        )
    assert state.purchases == sum(row[0] for row in wanted.values())


@given(histories(tuple(Kind)), st.data())
def test_redelivery_changes_nothing(events: list[Event], data: st.DataObject) -> None:
    once = fold(UserState(), events)
    again = data.draw(st.integers(0, len(events)))
    twice = fold(once.state, events[again:])
    assert encode(twice.state) == encode(once.state)
    assert twice.repeats == len(events) - again and not twice.counted and not twice.without_effect


@given(histories(tuple(Kind)), st.lists(st.integers(0, 40), max_size=6))
def test_how_the_events_are_cut_into_batches_does_not_matter(
    events: list[Event], cuts: list[int]
) -> None:
    state = UserState()
    for start, stop in pairwise([0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]):
        state = decode(encode(fold(state, events[start:stop]).state))
    assert encode(state) == encode(fold(UserState(), events).state)


@given(histories(tuple(Kind)))
def test_the_argument_stays_as_it_was(events: list[Event]) -> None:
    state = fold(UserState(), events[: len(events) // 2]).state
    before = encode(state)
    fold(state, events[len(events) // 2 :])
    assert encode(state) == before


@given(histories(tuple(Kind)), st.lists(st.integers(1, 2**64 - 1), max_size=120))
def test_bytes_and_back(events: list[Event], products: list[int]) -> None:
    state = publish(fold(UserState(), events).state, products, START)
    value = encode(state)
    assert len(value) <= MAX_BYTES and encode(decode(value)) == value
    assert decode(value).published_list().tolist() == products[: user_state.MAX_PUBLISHED]


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_bounded_whatever_a_shopper_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    events: list[Event] = [
        Interaction(
            Position(0, 0, i),
            Kind.PURCHASE,
            int(rng.integers(1, 3000)),
            START + i * 600,
            i // 5 + 1,
        )
        for i in range(3000)
    ]
    events.append(Profile(Position(3, 0, 0), START, "é" * 5000))
    folded = fold(UserState(), events)
    state = publish(folded.state, range(1, 1000), START)
    assert len(encode(state)) <= MAX_BYTES and folded.evicted > 0
    assert len(state.product_keys()) == MAX_PRODUCTS and len(state.interactions()) == MAX_SEQUENCE
    state.text.decode()  # never cut within a character


def test_the_weakest_counter_is_evicted() -> None:
    many = [
        Interaction(Position(0, 0, i), Kind.PURCHASE, i + 1, START + i * DAY // 10, i + 1)
        for i in range(MAX_PRODUCTS)
    ]
    again = [
        Interaction(Position(0, 0, 2000 + i), Kind.PURCHASE, 1, START + (104 + i) * DAY, 5000 + i)
        for i in range(3)
    ]
    new = Interaction(Position(0, 0, 3000), Kind.PURCHASE, 99_999, START + 110 * DAY, 6000)
    folded = fold(UserState(), [*many, *again, new])
    kept = set(folded.state.product_keys().tolist())
    assert folded.evicted == 1 and {1, 99_999} <= kept and 2 not in kept


def test_a_product_counts_once_per_basket_and_baskets_without_an_id_are_of_one_time() -> None:
    purchases = [(1, 0, 7), (1, 0, 7), (2, 0, 7), (1, 1, 7), (1, 1, 0), (1, 1, 0)]
    events = [
        Interaction(Position(0, 0, i), Kind.PURCHASE, product, START + day * DAY, basket)
        for i, (product, day, basket) in enumerate(purchases)
    ]
    state = fold(UserState(), events).state
    assert (state.baskets, state.purchases) == (2, 3)


def test_forgetting_leaves_only_the_watermarks() -> None:
    events: list[Event] = [
        Interaction(Position(0, 1, 5), Kind.PURCHASE, 1, START),
        Profile(Position(3, 1, 2), START, "somebody"),
    ]
    known = fold(UserState(), events).state
    forgotten = fold(known, [Profile(Position(3, 1, 3), START + DAY, None)]).state
    assert encode(forgotten) == encode(UserState(watermarks=forgotten.watermarks))
    assert encode(fold(forgotten, events).state) == encode(forgotten)
    later = Interaction(Position(0, 1, 6), Kind.PURCHASE, 2, START + 2 * DAY)
    at_once = fold(
        UserState(), [*events, Profile(Position(3, 1, 3), START + DAY, None), later]
    ).state
    assert (
        encode(at_once) == encode(fold(forgotten, [later]).state)
        and len(at_once.interactions()) == 1
    )


def test_the_version_counts_the_records_below_the_watermarks_and_lists_that_none_asked_for() -> (
    None
):
    events = [
        Interaction(Position(source, 1, 5 + source), Kind.PURCHASE, 1, START) for source in (0, 2)
    ]
    state = fold(UserState(), events).state
    assert UserState().version == 0 and state.version == RECORD * (6 + 8)
    assert publish(state, [1], START).version == RECORD * (6 + 8)
    assert publish_unasked(state, [1], START).version == RECORD * (6 + 8) + 1
    assert decode(encode(state)).version == state.version


def test_a_list_that_none_asked_for_is_below_the_next_that_answers_a_record() -> None:
    """It may have been published by a worker that died before it wrote the state."""
    before = fold(UserState(), [Interaction(Position(0, 1, 5), Kind.PURCHASE, 1, START)]).state
    never_written = publish_unasked(decode(encode(before)), [1], START + 9)
    later = Interaction(Position(0, 1, 6), Kind.PURCHASE, 1, START + 10)
    assert before.version < never_written.version < fold(before, [later]).state.version


def test_a_partition_that_changed_starts_its_watermark_anew() -> None:
    first = fold(UserState(), [Interaction(Position(0, 1, 500), Kind.PURCHASE, 1, START)]).state
    moved = fold(first, [Interaction(Position(0, 2, 3), Kind.PURCHASE, 2, START + DAY)])
    assert moved.repeats == 0 and len(moved.counted) == 1


def test_basket_rates_decay() -> None:
    events = [
        Interaction(Position(0, 0, i), Kind.PURCHASE, 1, START + i * 28 * DAY, i + 1)
        for i in range(3)
    ]
    state = fold(UserState(), events).state
    assert math.isclose(state.basket_decay28, 1 + 0.5 + 0.25) and state.baskets == 3
    assert math.isclose(
        state.product_counters()["basket_decay"][0], 1 + 0.95 + 0.95**2, rel_tol=1e-6
    )


@pytest.mark.parametrize(
    "value", [b"", b"\x03" + b"\0" * 100, encode(UserState())[:-1], encode(UserState()) + b"x"]
)
def test_foreign_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(StateError):
        decode(value)


def test_nothing_known_is_an_empty_state() -> None:
    assert encode(decode(None)) == encode(UserState())


@given(histories())
def test_rings_and_recent_baskets_equal_a_recount_of_the_raw_events(events: list[Event]) -> None:
    state = fold(UserState(), events).state
    baskets: list[tuple[int, int, set[int]]] = []
    for event in events:
        if isinstance(event, Interaction) and event.kind is Kind.PURCHASE:
            key = event.basket or event.time
            if not baskets or baskets[-1][0] != key:
                baskets.append((key, event.time, set()))
            baskets[-1][2].add(event.product)
    held = state.recent_baskets()
    assert held["time"].tolist() == [time for _, time, _ in baskets]
    assert held["size"].tolist() == [len(products) for _, _, products in baskets]
    for product, row in zip(state.product_keys().tolist(), state.product_counters(), strict=True):
        ring = int(row["ring"]) << (state.baskets - int(row["basket"]))
        assert [bool(ring >> ago & 1) for ago in range(len(baskets))] == [
            product in b[2] for b in reversed(baskets)
        ]


def test_only_the_last_baskets_are_kept_and_rings_never_overflow() -> None:
    events = [purchase(i, 7 if i % 2 else 8, day=i) for i in range(200)]
    state = decode(encode(fold(UserState(), events).state))
    assert (
        len(state.recent_baskets()) == MAX_BASKETS
        and state.recent_baskets()["time"][-1] == START + 199 * DAY
    )
    assert sorted(bin(ring).count("1") for ring in state.product_counters()["ring"].tolist()) == [
        32,
        32,
    ]


def purchase(number: int, product: int, day: int, **more: object) -> Interaction:
    position = Position(0, 1, number)
    return Interaction(position, Kind.PURCHASE, product, START + day * DAY, number + 1, **more)  # type: ignore[arg-type]


@given(histories())
def test_browse_counters_equal_a_recount_of_the_raw_events(events: list[Event]) -> None:
    acts = [event for event in events if isinstance(event, Interaction) and 1 <= event.kind <= 4]
    keys, counters = fold(UserState(), events).state.looked_at()
    assert set(keys.tolist()) == {event.product for event in acts}
    for product, row in zip(keys.tolist(), counters, strict=True):
        mine = [event for event in acts if event.product == product]
        newest = max(event.time for event in mine)
        assert row["last"] == newest

        def decayed(
            kinds: set[Kind], days: float, mine: list[Interaction] = mine, newest: int = newest
        ) -> float:
            return sum(
                2 ** ((event.time - newest) / DAY / days) for event in mine if event.kind in kinds
            )

        looks = {Kind.VIEW, Kind.SEARCH_CLICK}
        wanted = [decayed(looks, days) for days in (1 / 48, 0.25, 7)]
        wanted += [decayed({Kind.ADD_TO_CART}, 7), decayed({Kind.REMOVE_FROM_CART}, 7)]
        assert np.allclose(
            [row[name] for name in ("session", "day", "week", "cart", "removed")], wanted, rtol=1e-4
        )


def test_a_full_table_of_looks_forgets_the_oldest() -> None:
    looks = [
        Interaction(Position(1, 1, i), Kind.VIEW, 1 + i, START + i, dwell=90.0)
        for i in range(MAX_BROWSED + 3)
    ]
    folded = fold(UserState(), looks)
    keys, counters = decode(encode(folded.state)).looked_at()
    assert folded.evicted == 3 and len(keys) == MAX_BROWSED and min(keys.tolist()) == 4
    assert np.allclose(counters["dwell"], 1.5)


def test_affinity_to_promotions_is_a_mean_that_forgets() -> None:
    events = [purchase(i, i, day=i, promotion=(1.0, 0.25)) for i in range(3)] + [
        purchase(3, 9, day=3)
    ]
    state = decode(encode(fold(UserState(), events).state))
    assert math.isclose(state.mailer / state.promotions, 1.0) and math.isclose(
        state.display / state.promotions, 0.25
    )
    state = fold(state, [purchase(4, 4, day=4, promotion=(0.0, 0.0))]).state
    assert math.isclose(
        state.mailer / state.promotions,
        (0.995**3 + 0.995**2 + 0.995) / sum(0.995**i for i in range(4)),
    )


def test_sentiment_fades() -> None:
    reviews = [
        Interaction(Position(2, 1, i), Kind.REVIEW, 1, START + i * 112 * DAY, sentiment=1.0 - 2 * i)
        for i in range(2)
    ]
    state = fold(UserState(), reviews).state
    assert math.isclose(state.sentiment, -0.5) and math.isclose(state.reviews, 1.5)


def test_a_request_is_the_beginning_of_a_visit_and_nothing_else() -> None:
    known = fold(UserState(), [Interaction(Position(0, 0, 0), Kind.PURCHASE, 7, START)]).state
    folded = fold(
        known,
        [Request(Position(4, 0, 9), START + DAY), Request(Position(4, 0, 9), START + 2 * DAY)],
    )
    asked = folded.state
    assert (asked.active_at, asked.version, folded.repeats) == (
        START + DAY,
        known.version + RECORD * 10,
        1,
    )
    asked.active_at, asked.watermarks, asked.fingerprints = (
        known.active_at,
        known.watermarks,
        known.fingerprints,
    )
    assert user_state.encode(asked) == user_state.encode(known)
    assert fold(known, [Request(Position(4, 0, 9), START - DAY)]).state.active_at == START
