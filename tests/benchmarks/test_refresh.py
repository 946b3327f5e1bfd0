from pathlib import Path

import pytest

from tests.benchmarks.reports import report


@pytest.mark.timeout(300)
def test_the_three_ways_find_the_same_and_the_report_has_their_figures(tmp_path: Path) -> None:
    found = report("refresh", tmp_path)
    ways = found["ways"]
    assert ways.keys() == {"arrays", "index", "scan"}
    assert len({way["holders_of_the_frequent"] for way in ways.values()}) == 1
    assert all(way[name] > 0 for way in ways.values() for name in ("us_per_list", "ms_due"))
    assert found["due_per_minute"]["most"] < 4 * found["due_per_minute"]["mean"]
