"""What training will take, told before it begins."""

import numpy as np

from pprm.data.complete_journey import PLAN
from pprm.training import cost
from pprm.training.cost import GIB, Counts
from tests.unit.small_shop import dataset

GROCERIES = Counts(1_445_272, 67_979, 11_691, 11_691, 2_467, 5_600, 39_975, 55_506, 7_040)


def test_the_groceries_cost_about_what_was_measured() -> None:
    """docs/performance.md, Training: 518 s of an idle core, 7,416 MiB."""
    found = cost.of(GROCERIES)
    assert 0.8 < found.seconds / 518 < 1.25 and 0.8 < found.bytes / (7416 << 20) < 1.25


def test_each_knob_counts() -> None:
    whole = cost.of(GROCERIES)
    fewer = cost.of(GROCERIES._replace(returning=5_000, visits=5_000))
    assert fewer.seconds < 0.6 * whole.seconds and fewer.bytes < 2.5 * GIB
    for name in Counts._fields:
        more = cost.of(GROCERIES._replace(**{name: 2 * getattr(GROCERIES, name)}))
        assert more.seconds >= whole.seconds and more.bytes >= whole.bytes and more != whole, name


def test_only_shoppers_who_come_back_teach_ranking() -> None:
    shop = dataset(visits=300)
    first = shop.user[shop.visits()[:-1]]
    numbers = np.arange(100, 300)
    wanted = sum(first[number] in first[:number] for number in numbers)
    assert cost.returning(shop, numbers) == wanted > 150


def test_it_is_told_in_words() -> None:
    text = cost.words(GROCERIES, PLAN)
    assert "1,445,272 events of 2,467 shoppers" in text and "--visits" in text
    assert (
        "min of one idle core" in text and "GiB of memory" in text and "from 2017-07-01 on" in text
    )
