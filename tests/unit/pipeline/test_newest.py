"""The newest record of a product, whatever its partition and the order of reading."""

from itertools import permutations
from types import SimpleNamespace

import pytest

from worker.pipeline import newest
from worker.pipeline.newest import Newest

NOW = 1_700_000_000.0
MS = int(NOW * 1000)


def survivor(*records: tuple[str, int, int, bool]) -> str:
    """Which of (name, partition, time in ms, withdrawn) stands at the end, read in this order."""
    known, last = Newest(), ""
    for name, partition, time, withdrawn in records:
        record = SimpleNamespace(partition=partition, timestamp=time)
        last = name if known.is_newest("tea", withdrawn, record, NOW) else last
    return last


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        pytest.param(
            ("withdrawn", 0, MS, True), ("published", 1, MS - 1, False), id="a later withdrawal"
        ),
        pytest.param(
            ("published", 0, MS, False), ("withdrawn", 1, MS - 1, True), id="published again"
        ),
        pytest.param(
            ("withdrawn", 0, MS, True), ("published", 1, MS, False), id="at one time: withdrawn"
        ),
        pytest.param(
            ("one", 1, MS, False), ("other", 0, MS, False), id="at one time: the higher partition"
        ),
        pytest.param(
            ("today", 0, MS, False),
            ("2106", 1, 1 << 42, False),
            id="a time that is not yet keeps nothing out",
        ),
        pytest.param(("today", 0, MS, False), ("timeless", 1, -1, True), id="no time at all"),
    ],
)
def test_the_newer_of_two_partitions_wins_in_any_order(newer: tuple, older: tuple) -> None:  # type: ignore[type-arg]
    assert {survivor(*order) for order in permutations([newer, older])} == {newer[0]}


def test_within_a_partition_the_log_decides() -> None:
    assert survivor(("first", 1, MS, False), ("second", 1, MS - 5000, False)) == "second"


def test_old_withdrawals_are_forgotten_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "FIRST_SWEEP", 10)
    known, old = Newest(), MS - 2 * newest.KEPT_SECONDS * 1000
    for number in range(1000):
        withdrawn = number % 100 > 0
        known.is_newest(f"p{number}", withdrawn, SimpleNamespace(partition=0, timestamp=old), NOW)
    known.is_newest("gone", True, SimpleNamespace(partition=0, timestamp=MS), NOW)
    published, elsewhere = (SimpleNamespace(partition=1, timestamp=at) for at in (old - 1, MS - 1))
    assert len(known._ranks) < 50
    assert not known.is_newest("p100", False, published, NOW) and not known.is_newest(
        "gone", False, elsewhere, NOW
    )
