"""What is learned from and what is judged, by time alone: a random split would let the future in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from pprm.datasets import complete_journey
from pprm.datasets.dataset import Dataset


class Split(NamedTuple):
    """A period of judged visits: from, until (Unix seconds), and how many a shopper at most."""

    begin: int
    end: int
    most: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Periods of a dataset, Unix seconds."""

    begin: int
    """Visits are learned from between this and `chosen` or `until`; what is before them is only history."""
    validation: Split
    """Choices are made on it: one visit a shopper, so that many shoppers have a say."""
    test: Split
    cuts: tuple[int, ...]
    """When what changes slowly is learned anew, so that no visit is trained with tables of its future; the last one is
    `until`."""

    @property
    def chosen(self) -> int:
        """What choices are made with learns from nothing later."""
        return self.validation.begin

    @property
    def until(self) -> int:
        """What is tested, as it was chosen, is learned anew with the validation's visits, and from nothing later."""
        return self.test.begin

    @property
    def splits(self) -> dict[str, Split]:
        """What is judged, by name."""
        return {"validation": self.validation, "test": self.test}


def _month(month: int, year: int = 2017) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


COMPLETE_JOURNEY = Plan(
    _month(7), Split(_month(11), _month(12), 1), Split(_month(12), _month(1, 2018), 3), tuple(map(_month, range(7, 13)))
)
"""Learned from July to October and chosen on November; learned anew from July to November and tested on December."""
PARTS = 8
"""Others are cut by their span: the last eighth tests, the one before validates, the four before teach."""


def of(dataset: Dataset) -> Plan:
    """The plan for a dataset."""
    if dataset.name == complete_journey.NAME:
        return COMPLETE_JOURNEY
    first, last = int(dataset.time[0]), int(dataset.time[-1]) + 1
    cuts = np.linspace(first, last, PARTS + 1).astype(int).tolist()
    return Plan(cuts[2], Split(cuts[6], cuts[7], 1), Split(cuts[7], cuts[8], 3), tuple(cuts[2:8]))
