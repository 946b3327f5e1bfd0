"""The benchmark for GPUs runs, on whatever device there is."""

from pathlib import Path

import pytest

from tests.benchmarks.reports import report


@pytest.mark.timeout(600)
def test_device_says_what_a_micro_batch_costs_and_that_candidates_are_the_same(
    tmp_path: Path,
) -> None:
    found = report("device", tmp_path)["sizes"]["1000"]
    assert found["8"]["candidates"] > 0 and found["8"]["both stages"] > 0
    assert found["same_candidates"] > 0.95
