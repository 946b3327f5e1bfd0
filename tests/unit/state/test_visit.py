"""The visit under way, and the state before it, beside a walk through the raw events."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.core.events import Interaction, Kind, Position
from pprm.state.fold import fold
from pprm.state.user_state import MAX_BASKETS, MAX_SEQUENCE, UserState, decode, encode
from pprm.state.visit import SESSION, before, under_way

START = 20_000 * 86_400
DAY = 86_400


class Act(NamedTuple):
    """What a shopper does."""

    time: int
    """Seconds after `START`."""
    kind: Kind
    product: int
    basket: int = 0
    """0: one of its own for each moment."""


def state_after(acts: list[Act]) -> UserState:
    events = [
        Interaction(
            Position(0 if act.kind == Kind.PURCHASE else 1, 0, offset), act.kind, act.product,
            START + act.time, act.basket,
        )
        for offset, act in enumerate(acts)
    ]  # fmt: skip
    return decode(encode(fold(UserState(), events).state))


SHOPPING = (Kind.VIEW, Kind.SEARCH_CLICK, Kind.ADD_TO_CART, Kind.REMOVE_FROM_CART)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Act], int]:
    """Acts in the order of time, with pauses of all lengths, and a moment not long after."""
    acts: list[Act] = []
    time, with_orders = 0, draw(st.booleans())
    for _ in range(draw(st.integers(1, 12))):
        time += draw(st.sampled_from([0, 60, SESSION - 1, SESSION, 3 * DAY, 40 * DAY]))
        if draw(st.booleans()):
            bought = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True))
            order = time + 1 if with_orders else 0
            acts += [Act(time, Kind.PURCHASE, product, order) for product in bought]
        else:
            acts.append(Act(time, draw(st.sampled_from(SHOPPING)), draw(st.integers(1, 6))))
        if draw(st.integers(0, 5)) == 0:
            acts.append(Act(time, Kind.REVIEW, 1))
    return acts, time + draw(st.sampled_from([0, 60, SESSION - 1, SESSION, DAY]))


def walked(acts: list[Act], now: int) -> list[Act]:
    """The acts of the visit under way: an oracle in plain Python."""
    mine = [act for act in acts if act.kind != Kind.REVIEW]
    if not mine or now - mine[-1].time >= SESSION:
        return []
    first = 0
    for place, (one, other) in enumerate(pairwise(mine), 1):
        if other.time - one.time >= SESSION:
            first = place
    return mine[first:]


@given(stories())
def test_the_visit_is_what_a_walk_through_the_events_finds(story: tuple[list[Act], int]) -> None:
    acts, now = story
    visit, inside = under_way(state_after(acts), START + now), walked(acts, now)
    if not inside:
        assert visit is None
        return
    assert visit is not None
    cart: dict[int, bool] = {}
    for act in inside:
        if act.kind in (Kind.ADD_TO_CART, Kind.REMOVE_FROM_CART):
            cart.pop(act.product, None)
            cart[act.product] = act.kind == Kind.ADD_TO_CART
    assert set(visit.products) == {a.product for a in inside if a.kind == Kind.PURCHASE}
    assert set(visit.cart) == {product for product, is_in in cart.items() if is_in}
    assert visit.looks.tolist() == [
        a.product for a in inside if a.kind in (Kind.VIEW, Kind.SEARCH_CLICK)
    ]
    assert (visit.began, visit.ends) == (
        START + inside[0].time, START + inside[-1].time + SESSION,
    )  # fmt: skip
    assert visit.baskets == len({a.time for a in inside if a.kind == Kind.PURCHASE})
    assert set(visit.basket) == set(visit.products) | set(visit.cart)


@given(stories())
def test_before_is_the_state_as_if_nothing_had_been_bought_in_it(
    story: tuple[list[Act], int],
) -> None:
    acts, now = story
    state = state_after(acts)
    visit = under_way(state, START + now)
    if visit is None:
        return
    inside = walked(acts, now)
    came = before(state, visit)
    wanted = state_after([a for a in acts if a not in inside or a.kind != Kind.PURCHASE])
    same_as(came, wanted)
    assert decode(encode(came)) == came, "a state that is valid like any other"
    assert state == state_after(acts), "the state itself is as it was"


def same_as(came: UserState, wanted: UserState) -> None:
    """But for watermarks, the newest event, and the last digits of what decays."""
    by_product = [
        dict(zip(one.product_keys().tolist(), one.product_counters(), strict=True))
        for one in (came, wanted)
    ]
    assert by_product[0].keys() == by_product[1].keys()
    for product, counters in by_product[0].items():
        other = by_product[1][product]
        for name in ("count", "first", "last", "basket", "ring"):
            assert counters[name] == other[name], name
        for name, half_life in (("decay7", 7), ("decay28", 28), ("decay112", 112)):
            # what matters is what is left of it at the visit
            left = 2.0 ** (-(came.active_at - int(counters["last"])) / DAY / half_life)
            assert counters[name] * left == pytest.approx(other[name] * left, abs=1e-6), name
        assert counters["basket_decay"] == pytest.approx(other["basket_decay"], rel=1e-5)
    for name in ("purchases", "baskets", "first_purchase", "last_purchase", "visits", "sequence"):
        assert getattr(came, name) == getattr(wanted, name), name
    for name, half_life in (("basket_decay28", 28), ("basket_decay112", 112)):
        left = 2.0 ** (-(came.active_at - came.last_purchase) / DAY / half_life)
        assert getattr(came, name) * left == pytest.approx(getattr(wanted, name) * left, abs=1e-9)


def test_a_visit_is_over_when_its_session_is() -> None:
    state = state_after([Act(0, Kind.PURCHASE, 1)])
    visit = under_way(state, START + SESSION - 1)
    assert visit is not None and visit.ends == START + SESSION
    assert under_way(state, visit.ends) is None
    assert under_way(state, START + 60, session=60) is None
    assert under_way(UserState(), START) is None


def test_a_request_or_a_review_is_no_visit() -> None:
    state = state_after([Act(0, Kind.PURCHASE, 1), Act(2 * SESSION, Kind.REVIEW, 1)])
    assert state.active_at == START + 2 * SESSION
    assert under_way(state, START + 2 * SESSION) is None


def test_a_basket_larger_than_the_sequence_is_known_as_a_whole() -> None:
    past = [Act(0, Kind.PURCHASE, product) for product in range(3)]
    basket = [
        Act(DAY + 10 * place, Kind.PURCHASE, product, 7)
        for place, product in enumerate(range(1, MAX_SEQUENCE + 50))
    ]
    state = state_after(past + basket)
    visit = under_way(state, START + basket[-1].time)
    assert visit is not None and set(visit.products) == {act.product for act in basket}
    came = before(state, visit)
    assert (came.purchases, came.baskets, came.last_purchase) == (3, 1, START)
    assert set(came.product_keys()) == {0, 1, 2}


def test_more_baskets_in_a_visit_than_are_known_one_by_one() -> None:
    """Without orders each moment's purchases are a basket: a visit may have any number of them."""
    acts = [Act(0, Kind.PURCHASE, 1), Act(DAY, Kind.PURCHASE, 2)]
    acts += [Act(9 * DAY + 2 * n, Kind.PURCHASE, n % 5) for n in range(MAX_BASKETS + 20)]
    state = state_after(acts)
    visit = under_way(state, START + acts[-1].time)
    assert visit is not None and visit.baskets == MAX_BASKETS
    assert set(visit.products) == {0, 1, 2, 3, 4}
    came = before(state, visit)
    assert (came.purchases, came.baskets) == (22, 22)
    assert not came.visits and np.isfinite([came.basket_decay28, came.basket_decay112]).all()


def test_what_was_returned_is_not_in_the_basket() -> None:
    bought = [Act(0, Kind.PURCHASE, 1, 5), Act(0, Kind.PURCHASE, 2, 5)]
    state = state_after([*bought, Act(60, Kind.RETURN, 2, 5)])
    visit = under_way(state, START + 60)
    assert visit is not None and visit.products.tolist() == [1]
    empty = state_after([bought[0], Act(60, Kind.RETURN, 1, 5)])
    visit = under_way(empty, START + 60)
    assert visit is not None and not len(visit.products), "the shopper is there all the same"
    assert before(empty, visit).purchases == 0
