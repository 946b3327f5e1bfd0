"""The benchmark of scoring runs, and says what it must."""

from pathlib import Path

import pytest

from tests.benchmarks.reports import report


@pytest.mark.timeout(600)
def test_score_says_what_each_stage_costs_and_that_factorising_changes_no_list(
    tmp_path: Path,
) -> None:
    found = report("score", tmp_path)
    for size in ("1000", "11691"):
        assert {"naive", "als", "limit"} == set(found["sizes"][size]["ratios"])
        assert found["sizes"][size]["milliseconds"]["both by blocks, batch 8"] > 0
        assert found["sizes"][size]["by_blocks"]["same_top_10"] >= 0.99
    assert (
        found["agreement"]["same_top_10"] > 0.9 and found["agreement"]["largest_difference"] < 1e-3
    )
    assert found["ranking_milliseconds"]["together"] > 0
