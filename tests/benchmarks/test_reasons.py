"""The benchmark of reasons runs, and what lists say is told by how rare it is."""

from pathlib import Path

import pytest

from tests.benchmarks.reports import report


@pytest.mark.timeout(600)
def test_own_products_are_said_to_be_and_hardly_everything_is_popular(tmp_path: Path) -> None:
    found = report("reasons", tmp_path)
    assert found["items"] >= 100 and found["own"] > 0.3
    assert found["own_said_bought_before"] > 0.8 and found["reasons"].get("popular", 0) < 0.3
