"""The data as the demo tells it."""

import numpy as np

from pprm.datasets.dataset import Dataset, Product
from worker.demo import data
from worker.demo.households import Visit


def test_events_become_each_households_baskets() -> None:
    dataset = Dataset(
        name="small",
        products=[Product(name, name, [], "", {}, True) for name in ("a", "b", "c")],
        users=["1", "2"],
        baskets=["x", "y", "z"],
        profiles={},
        user=np.array([0, 0, 1, 0], np.int32),
        product=np.array([0, 2, 1, 1], np.int32),
        basket=np.array([0, 0, 1, 2], np.int32),
        time=np.array([10, 10, 20, 30]),
    )
    assert data.history(dataset) == {
        "1": [Visit(10, "1", "purchases", ("a", "c"), "x"), Visit(30, "1", "purchases", ("b",), "z")],
        "2": [Visit(20, "2", "purchases", ("b",), "y")],
    }


def test_so_many_households_take_part_all_of_them_with_purchases() -> None:
    shop = data.load(5)
    assert len(shop.history) == 5
    assert all(shop.history.values())
    known = {product.product_id for product in shop.products}
    assert {p for visits in shop.history.values() for visit in visits for p in visit.products} <= known
    assert len(shop.universe) == 11_691
    assert any(visit.time < data.BEGIN for visits in shop.history.values() for visit in visits)
    assert max(visit.time for visits in shop.history.values() for visit in visits) < data.END
