"""Periods by quantiles of baskets, impossible dates, and the check for enough data."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pprm.core.events import Kind
from pprm.data import plan
from pprm.data.dataset import Dataset
from pprm.data.files import TableError
from pprm.data.plan import LEAST_BASKETS, TooLittleData
from tests.unit.small_shop import BEGIN, DAY, dataset

SHOP = dataset(visits=400)


def with_event(shop: Dataset, at: int) -> Dataset:
    """One more purchase, at a Unix time."""
    place = int(np.searchsorted(shop.time, at))
    more = {"user": 0, "product": 0, "basket": len(shop.baskets), "time": at}
    columns = {name: np.insert(getattr(shop, name), place, value) for name, value in more.items()}
    return replace(shop, **columns, baskets=[*shop.baskets, "one more"])


@pytest.mark.parametrize("year", [1970, 2000, 2062])
def test_one_wrong_date_is_named_left_out_and_moves_no_period(year: int) -> None:
    at = int(datetime(year, 3, 1, tzinfo=UTC).timestamp())
    found, said = plan.without_outliers(with_event(SHOP, at))
    assert f"{year}-03-01" in said and list(found.left_out.values()) == [1]
    assert np.array_equal(found.time, SHOP.time) and plan.of(found) == plan.of(SHOP)


def test_nothing_is_left_out_of_a_shop_that_grew() -> None:
    """Twice as many events each year: the first years hold few, and they are right."""
    for times in (
        2.0 ** np.linspace(0, 10, 5000),
        np.r_[np.full(4000, 900.0), np.linspace(1, 900, 50)],
    ):
        shop = replace(SHOP, time=np.sort(BEGIN + times * DAY).astype(np.int64))
        assert plan.without_outliers(shop) == (shop, "")
    assert plan.without_outliers(SHOP) == (SHOP, "")


def test_periods_hold_equal_numbers_of_baskets_however_they_lie_in_time() -> None:
    early = replace(SHOP, time=BEGIN + (SHOP.time - BEGIN) ** 2 // (300 * DAY))
    for shop in (SHOP, early, with_event(SHOP, BEGIN + 4000 * DAY)):
        made, times = plan.of(shop), plan.basket_times(shop)
        for begin, end, share in (
            (made.begin, made.chosen, 4), (*made.validation[:2], 1), (*made.test[:2], 1),
        ):  # fmt: skip
            inside = int(((times >= begin) & (times < end)).sum())
            assert inside == pytest.approx(share * len(times) / 8, abs=2)


def test_too_little_is_a_sentence_that_says_how_much_is_needed() -> None:
    few = dataset(visits=LEAST_BASKETS // 2)
    with pytest.raises(TooLittleData, match=f"39 baskets .* {LEAST_BASKETS} are needed"):
        plan.require_enough(few)
    plan.require_enough(dataset(visits=LEAST_BASKETS + 5))
    assert issubclass(TooLittleData, TableError), "which every command tells in words"


def test_what_can_never_be_learned_from_is_told_in_words() -> None:
    looking = replace(
        SHOP, kind=np.full(len(SHOP.user), Kind.VIEW, np.uint8), basket=np.full(len(SHOP.user), -1)
    )
    sold_out = replace(
        SHOP, products=[product._replace(available=False) for product in SHOP.products]
    )
    unsold = [
        product._replace(available=number == 59) for number, product in enumerate(SHOP.products)
    ]
    other = replace(SHOP, products=unsold, product=np.minimum(SHOP.product, 58))
    at_once = replace(SHOP, time=np.full(len(SHOP.time), BEGIN))
    nothing = replace(
        SHOP, **{name: getattr(SHOP, name)[:0] for name in ("user", "product", "basket", "time")}
    )
    for shop, said in (
        (looking, "no purchase"), (sold_out, "no product is available"), (other, "was ever bought"),
        (at_once, "cannot be parted"), (nothing, "no purchase"),
    ):  # fmt: skip
        with pytest.raises(TooLittleData, match=said):
            plan.of(shop)
