"""Rows to arrays: the order, the baskets and the counts that every dataset relies on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.events import Kind
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import TableError
from pprm.data.replay import replay
from pprm.data.rows import REPEATED, SAME_EVENT, UNKNOWN_PRODUCT, Event, Rows, ShopUser, collect
from pprm.state.user_state import store_code

T = 1_600_000_000
PRODUCTS = [ShopProduct(f"p{i}", f"title {i}", [], "", {}, True) for i in range(4)]

events = st.tuples(
    st.sampled_from(["u0", "u1", "u2"]),
    st.sampled_from(["p0", "p1", "p2", "p3", "gone"]),
    st.integers(T, T + 6),
    st.sampled_from(Kind),
    st.sampled_from(["", "b0", "b1"]),
).map(lambda fields: Event(*fields))


def shop(*rows: Event, users: tuple[ShopUser, ...] = ()) -> Dataset:
    return collect("shop", Rows(rows, PRODUCTS, users))


def told(data: Dataset) -> list[tuple[str, str, int, Kind, str]]:
    """Events in order, as text."""
    assert data.kind is not None
    columns = (data.user, data.product, data.time, data.kind, data.basket)
    return [
        (
            data.users[u],
            data.products[p].product_id,
            t - T,
            Kind(k),
            data.baskets[b] if b >= 0 else "",
        )
        for u, p, t, k, b in zip(*(column.tolist() for column in columns), strict=True)
    ]


@given(st.lists(events, min_size=1, max_size=40))
def test_order_and_baskets(rows: list[Event]) -> None:
    known = [row for row in rows if row.product_id != "gone"]
    if len(known) < len(rows) / 2:
        with pytest.raises(TableError, match="compare their ids"):
            shop(*rows)
        return
    data = shop(*rows)
    assert data.kind is not None
    bought = data.kind == Kind.PURCHASE
    assert (np.diff(data.time) >= 0).all()
    assert ((data.basket >= 0) == bought).all()
    # an independent count of baskets: a set
    baskets = {(r.user_id, r.basket_id or r.occurred_at) for r in known if r.kind is Kind.PURCHASE}
    assert len(data.baskets) == len(baskets) == int(data.is_basket().sum())
    bounds = data.visits()
    for start, stop in pairwise(bounds.tolist()):
        assert len(set(data.user[start:stop])) == len(set(data.time[start:stop])) == 1
        assert len(set(data.product[start:stop])) == stop - start
    pairs = {
        (r.user_id, r.basket_id or r.occurred_at, r.product_id)
        for r in known
        if r.kind is Kind.PURCHASE
    }
    assert int(bought.sum()) == len(pairs)
    assert len(data.user) + sum(data.left_out.values()) == len(rows)


@given(st.lists(events, min_size=1, max_size=40))
def test_other_events_stay_as_they_were(rows: list[Event]) -> None:
    rows = [row for row in rows if row.product_id != "gone"]
    looks = [row for row in rows if row.kind is not Kind.PURCHASE]
    if not looks:
        return
    expected = sorted(looks, key=lambda row: row.occurred_at)
    assert [e for e in told(shop(*rows)) if e[3] is not Kind.PURCHASE] == [
        (row.user_id, row.product_id, row.occurred_at - T, row.kind, "") for row in expected
    ]


def test_a_basket_lies_at_its_first_purchase() -> None:
    data = shop(
        Event("u0", "p0", T, basket_id="b"),
        Event("u0", "p1", T + 1, Kind.VIEW),
        Event("u1", "p2", T + 1, basket_id="b"),
        Event("u0", "p1", T + 2, basket_id="b"),
        Event("u0", "p0", T + 3, basket_id="b"),
    )
    assert told(data) == [
        ("u0", "p0", 0, Kind.PURCHASE, "b"),
        ("u0", "p1", 0, Kind.PURCHASE, "b"),
        ("u0", "p1", 1, Kind.VIEW, ""),
        ("u1", "p2", 1, Kind.PURCHASE, "b"),
    ]
    assert data.left_out == {REPEATED: 1}


def test_purchases_without_a_basket_id_form_one_by_their_time() -> None:
    data = shop(
        Event("u0", "p0", T), Event("u1", "p0", T), Event("u0", "p1", T), Event("u0", "p2", T + 1)
    )
    assert [(user, product) for user, product, *_ in told(data)] == [
        ("u0", "p0"), ("u0", "p1"), ("u1", "p0"), ("u0", "p2"),
    ]  # fmt: skip
    assert len(data.baskets) == 3


def test_what_each_kind_carries() -> None:
    row = Event("u0", "p0", T, store_id="s", dwell_seconds=5.0, rating=5.0)
    data = shop(*(row._replace(kind=kind, occurred_at=T + kind) for kind in Kind))
    assert data.store is not None and data.dwell is not None and data.sentiment is not None
    assert data.store.tolist() == [store_code("s")] + [0] * (len(Kind) - 1)
    assert data.dwell.tolist() == [0, 5, 5, 5, 5, 0, 0, 0, 0, 0]
    assert data.sentiment.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_sentiment_is_given_else_of_the_stars_else_of_the_text() -> None:
    row = Event("u0", "p0", T, Kind.REVIEW, text="terrible, awful, I hate it")
    data = shop(
        row._replace(sentiment=0.25, rating=5.0),
        row._replace(rating=4.0),
        row,
        row._replace(text=""),
    )
    assert data.sentiment is not None
    given, stars, text, nothing = data.sentiment.tolist()
    assert (given, stars, nothing) == (0.25, 0.5, 0.0) and text < -0.5


def test_unknown_products_are_left_out_and_counted() -> None:
    data = shop(Event("u0", "gone", T), Event("u0", "p3", T))
    assert data.left_out == {UNKNOWN_PRODUCT: 1}
    assert len(data.user) == 1
    assert (
        "1: event of a product that is not among the products: compare their ids ('gone')"
        in str(data.report)
    )


def test_products_whose_ids_do_not_match_are_refused_with_examples() -> None:
    with pytest.raises(
        TableError, match=r"3 of 4 rows cannot be used:\n  3: .*compare their ids \('gone', 'P0'"
    ):
        shop(
            Event("u0", "gone", T), Event("u0", "P0", T), Event("u1", "P0", T), Event("u0", "p0", T)
        )


def test_an_event_with_an_id_that_was_there_before_is_the_same_event() -> None:
    look = Event("u0", "p0", T, Kind.VIEW)
    again = look._replace(event_id="e1", occurred_at=T + 1)
    data = shop(again, look._replace(event_id="e1"), look._replace(event_id="e2"), look, look)
    # the earliest; those without an id are all events
    assert [event[2] for event in told(data)] == [0, 0, 0, 0]
    order = [Event("u0", product, T, event_id="order 7") for product in ("p0", "p1")]
    assert len(shop(*order).user) == 2
    assert data.left_out == {SAME_EVENT: 1}


def test_profiles_are_those_of_shoppers_with_events() -> None:
    users = (
        ShopUser("u0", "likes tea", {"city": "Oslo"}),
        ShopUser("u1", "", {}),
        ShopUser("stranger", "x", {}),
    )
    data = shop(Event("u0", "p0", T), Event("u1", "p0", T), users=users)
    assert data.profiles == {"u0": {"city": "Oslo"}} and data.about == {"u0": "likes tea"}
    assert data.profile("u0") == "likes tea. city Oslo" and data.profile("u1") == ""


def test_a_later_row_of_a_product_replaces_an_earlier_one() -> None:
    rows = Rows(
        [Event("u0", "p0", T)],
        [PRODUCTS[0], PRODUCTS[0]._replace(title="new", description="about it")],
    )
    data = collect("shop", rows)
    assert [product.title for product in data.products] == ["new"]
    assert data.products[0].to_catalogue().text == "new. about it"


def test_replay_takes_it() -> None:
    data = shop(
        Event("u0", "p0", T, Kind.VIEW),
        Event("u0", "p0", T + 1),
        Event("u0", "p0", T + 2, Kind.REVIEW, rating=1),
    )
    catalogue = Catalogue(2)
    catalogue.put(
        [product.to_catalogue() for product in data.products], np.zeros((4, 2), np.float32)
    )
    (visit,) = replay(data, catalogue, Popularity(), T + 10)
    assert len(visit.before.browsed_keys) and visit.after.purchases == 1
