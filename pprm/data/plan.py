"""The periods to learn from and to judge, by time alone.

A random split would let the future in.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.data.dataset import Dataset
from pprm.data.files import TableError

DAY = 86_400


class TooLittleData(TableError):
    """There is not enough to learn from, or to judge by; the text says how much is needed."""


class Split(NamedTuple):
    """A period of judged visits: from, until (Unix seconds), and how many a shopper at most."""

    begin: int
    end: int
    most: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Periods of a dataset, Unix seconds."""

    begin: int
    """Visits from here to `chosen` or `until` are learned from; earlier ones are only history."""
    validation: Split
    """Choices are made on it: one visit a shopper, so that many shoppers have a say."""
    test: Split
    cuts: tuple[int, ...]
    """Unix times at which slow tables are learned anew; the last is `until`.

    Thus no visit is trained with tables of its future.
    """

    @property
    def chosen(self) -> int:
        """Unix time before which the model that choices are made with learns."""
        return self.validation.begin

    @property
    def until(self) -> int:
        """Unix time before which the model that is tested learns.

        It has the settings chosen on the validation, and learns from the validation's visits, too.
        """
        return self.test.begin

    @property
    def splits(self) -> dict[str, Split]:
        """What is judged, by name."""
        return {"validation": self.validation, "test": self.test}


PARTS = 8
"""Equal parts of other datasets' baskets: 1 tests, 1 validates, the 4 before teach."""
LEAST_BASKETS = 80
"""Least baskets to learn from: 40 teach, 10 validate, 10 test (see docs/small-shops.md)."""


def of(dataset: Dataset) -> Plan:
    """Return the plan of a dataset, its own or one that is made for it.

    One that is made is cut by numbers of baskets, so that each period has some to judge. Cut by
    time, one wrong date would leave nothing in most of them.

    Raises:
        TooLittleData: nobody buys anything that may be recommended, or all do at one moment.
    """
    if dataset.plan:
        return dataset.plan
    times = basket_times(dataset)
    if not len(times):
        raise TooLittleData(_nothing_bought(dataset))
    cuts = [int(times[part * len(times) // PARTS]) for part in range(PARTS)] + [int(times[-1]) + 1]
    if len(set(cuts[5:])) < 4:
        raise TooLittleData(
            f"{len(times):,} baskets at {len(np.unique(times)):,} different times:"
            " they cannot be parted into earlier ones that teach and later ones"
            " that judge. Export occurred_at as it was, not as of the export."
        )
    return Plan(cuts[2], Split(cuts[6], cuts[7], 1), Split(cuts[7], cuts[8], 3), tuple(cuts[2:8]))


def basket_times(dataset: Dataset) -> NDArray[np.int64]:
    """Unix seconds of the baskets that hold a product that may be recommended, in time order."""
    if not len(dataset.user):
        return np.zeros(0, np.int64)
    first = dataset.visits()[:-1]
    available = np.array([product.available for product in dataset.products])
    answerable = np.logical_or.reduceat(available[dataset.product], first)
    times: NDArray[np.int64] = dataset.time[first][answerable & dataset.is_basket()]
    return times


def _nothing_bought(dataset: Dataset) -> str:
    if not any(product.available for product in dataset.products):
        return (
            "no product is available, so there is nothing to"
            " recommend: set the column `available` to true"
        )
    if len(dataset.user) and dataset.purchases().any():
        return (
            "no product that may be recommended was ever bought:"
            " compare the column `available` with the events"
        )
    return (
        "there is no purchase, and PPRM learns from what is bought. If your shop has none"
        " (wishlists, clicks, ratings),"
        " docs/small-shops.md says which of your events may stand for them"
    )


def require_enough(dataset: Dataset) -> None:
    """Check whether there is enough data, before anything that takes minutes.

    Raises:
        TooLittleData: it is not.
    """
    baskets = len(basket_times(dataset))
    if baskets < LEAST_BASKETS:
        raise TooLittleData(
            f"{baskets:,} baskets of products that may be recommended, and"
            f" {LEAST_BASKETS} are needed: half of them teach, an eighth validates,"
            " an eighth tests. Export a longer time; until then `pprm worker` serves"
            " the bundled model, and docs/small-shops.md says what to expect of few"
        )


def without_outliers(dataset: Dataset) -> tuple[Dataset, str]:
    """Leave out the few events whose dates cannot be right.

    The second result is a sentence that names them, empty if there is none.

    A date is wrong if at most one event in a hundred (three of few) lies beyond a silence that is
    longer than all the rest took, and than a year.
    """
    first, last = _right(dataset.time)
    wrong = np.r_[0:first, last : len(dataset.time)]
    if not len(wrong):
        return dataset, ""
    dates = ", ".join(
        dict.fromkeys(
            f"{datetime.fromtimestamp(int(t), UTC):%Y-%m-%d}" for t in dataset.time[wrong[:5]]
        )
    )
    more = ", ..." if len(wrong) > 5 else ""
    reason = f"far from all others in time ({dates}{more})"
    kept: dict[str, Any] = {
        name: column if (column := getattr(dataset, name)) is None else column[first:last]
        for name in ("user", "product", "basket", "time", "kind", "store", "dwell", "sentiment")
    }
    report = deepcopy(dataset.report)
    report.passed_over("dates", reason, count=len(wrong))
    return replace(dataset, **kept, report=report), f"{len(wrong):,} events are left out: {reason}"


def _right(times: NDArray[np.int64]) -> tuple[int, int]:
    """The range of the events whose dates may be right, of times in order."""
    most = max(len(times) // 100, min(3, len(times) // 10))
    if not most:
        return 0, len(times)
    silence = max(int(times[-1 - most] - times[most]), 365 * DAY)
    gaps = np.diff(times) > silence
    early, late = np.flatnonzero(gaps[:most]), np.flatnonzero(gaps[-most:])
    first = int(early[-1]) + 1 if len(early) else 0
    return first, len(times) - most + int(late[0]) if len(late) else len(times)
