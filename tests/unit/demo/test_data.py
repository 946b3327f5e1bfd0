"""The data as the demo tells it."""

from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.files import TableError
from pprm.data.source import Source
from tests.unit.demo.test_wire_rows import record
from worker.demo import data, wire_rows
from worker.demo.households import DemoVisit
from worker.pipeline import codec


def test_events_become_each_households_baskets() -> None:
    dataset = Dataset(
        name="small",
        products=[ShopProduct(name, name, [], "", {}, True) for name in ("a", "b", "c")],
        users=["1", "2"],
        baskets=["x", "y", "z"],
        profiles={},
        user=np.array([0, 0, 1, 0], np.int32),
        product=np.array([0, 2, 1, 1], np.int32),
        basket=np.array([0, 0, 1, 2], np.int32),
        time=np.array([10, 10, 20, 30]),
    )
    assert data.history(dataset, ["1", "2"]) == {
        "1": [
            DemoVisit(10, "1", "purchases", ("a", "c"), "x"),
            DemoVisit(30, "1", "purchases", ("b",), "z"),
        ],
        "2": [DemoVisit(20, "2", "purchases", ("b",), "y")],
    }


def test_so_many_households_take_part_all_of_them_with_purchases() -> None:
    shop = data.load(Source(), 5)
    assert len(shop.history) == 5
    assert all(shop.history.values())
    known = {product.product_id for product in shop.dataset.products}
    assert {
        p for visits in shop.history.values() for visit in visits for p in visit.products
    } <= known
    assert len(shop.universe) == 11_691
    assert any(
        visit.time < shop.begin == data.BEGIN
        for visits in shop.history.values()
        for visit in visits
    )
    assert max(visit.time for visits in shop.history.values() for visit in visits) < shop.end


def test_what_is_no_purchase_stands_by_itself(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title\na,A\nb,B\n")
    (tmp_path / "events.csv").write_text(
        "user_id,product_id,occurred_at,kind,store_id,dwell_seconds,rating\n"
        "1,a,1000000000,view,,12.5,\n1,b,1000000000,add_to_cart,,,\n1,b,1000000060,purchase,s,,\n"
        "1,b,1000000090,review,,,2\n2,b,1000000020,view,,,\n2,b,1000000030,view,,,\n2,a,1000000030,view,,,\n2,a,1000000100,purchase,,,\n"
        + "".join(f"3,a,100000000{second},purchase,,,\n" for second in range(1, 7))
    )
    files = (tmp_path / "events.csv", tmp_path / "products.csv")
    shop = data.load(Source("table", files), None)
    assert (shop.begin, shop.end, shop.simulates) == (1_000_000_100, 1_000_000_101, False)
    look, cart, bought, review = shop.history["1"]
    assert look[:4] == (1_000_000_000, "1", "browses", ("a",)) and (look.action, look.dwell) == (
        "view",
        12.5,
    )
    assert (cart.action, bought.family, review.family, review.sentiment) == (
        "add_to_cart", "purchases", "reviews", -0.5,
    )  # fmt: skip
    page = [visit for visit in shop.history["2"] if visit.family == "browses"]
    assert [visit.products for visit in page] == [("b",), ("b", "a")], (
        "what is seen in one moment is one visit"
    )
    assert set(shop.history) == {"1", "2", "3"} and set(
        data.load(Source("table", files), 5).history
    ) == {"2"}
    decoded = [
        codec.decode(visit.family, record(visit.family, row), visit.time)
        for visit in shop.history["1"]
        for row in wire_rows.visit_rows(visit)
    ]
    events = [said.event for said in decoded if isinstance(said, codec.Decoded)]
    wanted = [
        next(shop.dataset.interactions(i, i + 1)) for i in np.flatnonzero(shop.dataset.user == 0)
    ]
    told = attrgetter("kind", "product", "time", "sentiment", "dwell", "promotion")
    assert list(map(told, events)) == list(map(told, wanted))


def test_a_shop_of_one_basket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title\na,A\n")
    rows = "1,a,1000000000,purchase\n1,a,1000000100,view\n"
    (tmp_path / "events.csv").write_text("user_id,product_id,occurred_at,kind\n" + rows)
    with pytest.raises(TableError, match="cannot be parted"):
        data.load(Source("table", (tmp_path / "events.csv", tmp_path / "products.csv")), None)


def test_products_that_share_a_title_are_told_apart() -> None:
    shop = data.load(Source(), 3)
    names = data.names(shop)
    assert max(map(len, names.values())) <= data.NAME_LENGTH
    assert len(set(names.values())) > 0.99 * len(names), "by type, size, maker and id"
    milk = next(p for p in shop.dataset.products if p.title == "FLUID MILK WHITE ONLY")
    name = names[milk.product_id]
    assert name.startswith("Fluid") and name.endswith(milk.product_id[-4:])
    assert f"m{milk.brand.split()[-1]}" in name


def test_products_with_titles_of_their_own_keep_them(tmp_path: Path) -> None:
    products = [ShopProduct(f"p{n}", f"MUG {n}", [], "", {}, True) for n in range(3)]

    class Named:
        dataset, simulates = type("Data", (), {"products": products}), False

    assert data.names(Named())["p1"] == "Mug 1"  # type: ignore[arg-type]
