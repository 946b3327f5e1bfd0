"""A return takes back what its purchase counted.

What is left is what would be there had it not been bought.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.events import Interaction, Kind, Position
from pprm.state.fold import Folded, fold
from pprm.state.user_state import MAX_PRODUCTS, MAX_SEQUENCE, UserState, decode, encode
from pprm.state.watermarks import RECORD

DAY = 86_400
START = 20_000 * DAY


class Act(NamedTuple):
    """A purchase, or a return of one."""

    product: int
    day: int
    basket: int = 0
    returned: bool = False


def folded(acts: Iterable[Act], state: UserState | None = None, offset: int = 0) -> Folded:
    events = [
        Interaction(
            Position(0, 0, offset + number), Kind.RETURN if act.returned else Kind.PURCHASE,
            act.product,
            START + act.day * DAY + act.product, act.basket,
        )
        for number, act in enumerate(acts)
    ]  # fmt: skip
    return fold(decode(encode(state or UserState())), events)


@st.composite
def stories(draw: st.DrawFn) -> list[Act]:
    """Orders of some products, lines at times of their own, and returns with and without orders."""
    acts: list[Act] = []
    for number in range(draw(st.integers(1, 15))):
        basket = draw(st.sampled_from([number + 1, number // 2 + 1]))
        for product in draw(st.lists(st.integers(1, 5), max_size=3)):
            acts.append(Act(product, draw(st.integers(0, 300)), basket))
        for product in draw(st.lists(st.integers(1, 6), max_size=1)):
            acts.append(Act(product, 300, draw(st.sampled_from([0, 0, basket, 1, 99])), True))
    return acts


def kept(acts: list[Act]) -> list[tuple[int, int, int]]:
    """Product, basket number and time of the purchases not returned, worked out plainly."""
    held: list[tuple[int, int, int]] = []
    baskets: list[int] = []
    for act in acts:
        if act.returned:
            mine = [one for one in held if one[0] == act.product]
            if act.basket in baskets:
                numbers = [
                    number for number, basket in enumerate(baskets, 1) if basket == act.basket
                ]
                mine = [one for one in mine if one[1] in numbers]
            if mine:
                held.remove(max(mine, key=lambda one: one[1]))
            continue
        if not baskets or baskets[-1] != act.basket:
            baskets.append(act.basket)
        if not any(one[:2] == (act.product, len(baskets)) for one in held):
            held.append((act.product, len(baskets), START + act.day * DAY + act.product))
    return held


@given(stories(), st.sets(st.integers(0, 60), max_size=3))
def test_what_is_left_is_what_was_not_returned(acts: list[Act], cuts: set[int]) -> None:
    state = UserState()
    for start, stop in pairwise([0, *sorted(cut for cut in cuts if cut < len(acts)), len(acts)]):
        state = folded(acts[start:stop], state, start).state
    left = kept(acts)
    counters = dict(zip(state.product_keys().tolist(), state.product_counters(), strict=True))
    assert set(counters) == {product for product, _, _ in left} and state.purchases == len(left)
    for product, row in counters.items():
        mine = [(number, time) for one, number, time in left if one == product]
        newest, basket = max(time for _, time in mine), max(number for number, _ in mine)
        assert row["count"] == len(mine) and row["last"] == newest and row["basket"] == basket
        assert row["first"] == min(time for _, time in mine)
        assert row["ring"] == sum(1 << basket - number for number, _ in mine)
        wanted = [
            sum(2.0 ** ((time - newest) / DAY / days) for _, time in mine) for days in (7, 28, 112)
        ]
        wanted.append(sum(0.95 ** (basket - number) for number, _ in mine))
        held = [row[name] for name in ("decay7", "decay28", "decay112", "basket_decay")]
        assert np.allclose(held, wanted, rtol=1e-4)
    sizes = state.recent_baskets()["size"].tolist()
    assert sizes == [sum(one[1] == number for one in left) for number in range(1, len(sizes) + 1)]
    bought = state.interactions()
    assert sorted(zip(bought["product"].tolist(), bought["time"].tolist(), strict=True)) == sorted(
        (product, time) for product, _, time in left
    )


@given(stories())
def test_popularity_is_that_of_what_was_not_returned(acts: list[Act]) -> None:
    """Counted live, and from the states after a rebalance; up to tomorrow, and months later."""
    live, recounted, wanted = Popularity(), Popularity(), Popularity()
    made = folded(acts)
    for day in (301, 400):
        live.advance(START + (day - 60) * DAY)
        if day == 301:
            live.add(
                Purchase(one.event.product, one.event.time, one.is_first, one.times)
                for one in made.counted
            )
            recounted.add_state(made.state)
            wanted.add_state(folded(Act(p, (t - START) // DAY, n) for p, n, t in kept(acts)).state)
        for one in (live, recounted, wanted):
            one.advance(START + day * DAY)
        products = np.arange(1, 7, dtype=np.uint64)
        purchases = [one.counters(products)[:, :3] for one in (live, recounted, wanted)]
        assert np.allclose(purchases[0], purchases[2], atol=1e-4) and np.allclose(
            purchases[1], purchases[2], atol=1e-4
        )
        assert (live.counters(products) >= 0).all() and (live.snapshot(0).counters >= 0).all()


def test_a_return_leaves_nothing_of_the_only_purchase() -> None:
    state = folded([Act(1, 0, 1), Act(2, 0, 1), Act(2, 9, 0, True)]).state
    assert state.product_keys().tolist() == [1] and state.purchases == 1
    assert state.recent_baskets()["size"].tolist() == [1] and state.interactions()[
        "product"
    ].tolist() == [1]
    everything = folded([Act(1, 9, 1, True)], state, 9).state
    assert (
        not everything.purchases
        and everything.baskets == 1
        and decode(encode(everything)) == everything
    )


@pytest.mark.parametrize("basket", [0, 7])
def test_a_return_of_what_was_never_bought_moves_the_watermark_only(basket: int) -> None:
    before = folded([Act(1, 0, 7)]).state
    after = folded([Act(2, 9, basket, True)], before, 5)
    assert (
        after.without_effect == [(0, "unbought")]
        and after.state.version == RECORD * 6
        and not after.counted
    )
    assert (
        encode(after.state)[133:] == encode(before)[133:]
        and after.state.active_at == before.active_at
    )


def test_a_basket_that_no_longer_holds_the_product_gives_nothing_back_twice() -> None:
    """Whoever returns two of three sends two lines.

    The second must not take another order's purchase.
    """
    acts = [Act(1, 0, 7), Act(1, 5, 8), Act(1, 9, 7, True), Act(1, 9, 7, True)]
    made = folded(acts)
    assert made.without_effect == [(0, "unbought")] and made.state.product_counters()[
        "count"
    ].tolist() == [1]
    assert made.state.product_counters()["last"].tolist() == [START + 5 * DAY + 1]


def test_a_return_that_names_a_receipt_of_its_own_takes_the_newest_purchase() -> None:
    state = folded([Act(1, 0, 7), Act(1, 5, 8), Act(1, 9, 12345, True)]).state
    assert state.product_counters()["last"].tolist() == [START + 1]


def test_a_product_bought_again_after_its_return_counts_again_in_the_same_basket() -> None:
    state = folded([Act(1, 0, 7), Act(1, 0, 7, True), Act(1, 0, 7)]).state
    assert state.purchases == 1 and state.recent_baskets()["size"].tolist() == [1]


def test_a_purchase_of_none_counts_for_nothing() -> None:
    event = Interaction(Position(0, 0, 3), Kind.NOTHING, 1, START)
    made = fold(UserState(), [event])
    assert (
        made.without_effect == [(0, "nothing")]
        and made.state.version == RECORD * 4
        and not made.state.active_at
    )


@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=150, max_size=260),
    st.integers(0, 2**32),
)
def test_purchases_that_only_the_counters_know_stay_bounded_whatever_is_returned(
    days: list[tuple[int, bool]], seed: int
) -> None:
    """More baskets than are kept one by one, and all of them returned.

    Never a state that nobody can read.
    """
    rng, day, acts = np.random.default_rng(seed), 0, list[Act]()
    for number, (later, two) in enumerate(days):
        day += later * (200 if number % 90 == 0 else 1)
        acts += [
            Act(product, day, number + 1)
            for product in ([1, 2] if two else [int(rng.integers(1, 3))])
        ]
    back = [
        Act(int(rng.integers(1, 3)), day, int(rng.choice([0, rng.integers(1, 260)])), True)
        for _ in range(300)
    ]
    state = folded(acts).state
    for number, act in enumerate(back):
        before, state = state, folded([act], state, 1000 + number).state
        assert before.purchases - state.purchases in (0, 1)
    assert len(state.product_keys()) <= 2


def test_returns_in_a_full_state() -> None:
    acts = [Act(number + 1, number, number + 1) for number in range(MAX_PRODUCTS + 5)]
    full = folded(acts)
    assert full.evicted == 5 and len(full.state.interactions()) == MAX_SEQUENCE
    after = folded([Act(1, 2000, 0, True), Act(500, 2000, 0, True)], full.state, 5000)
    assert after.without_effect == [(0, "unbought")], "the first was evicted"
    assert (
        len(after.state.product_keys()) == MAX_PRODUCTS - 1
        and 500 not in after.state.product_keys()
    )
