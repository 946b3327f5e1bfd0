from pathlib import Path

import pytest

from tests.benchmarks.reports import report

PHASES = [
    "reading", "texts", "first stage, examples", "first stage, learning", "tables",
    "second stage, examples",
    "second stage, learning", "judging",
]  # fmt: skip


@pytest.mark.timeout(600)
def test_the_report_has_all_phases(tmp_path: Path) -> None:
    found = report("train", tmp_path)
    assert list(found["phases"]) == PHASES
    assert all(
        phase["seconds"] > 0 and phase["peak_bytes"] >= phase["left_bytes"]
        for phase in found["phases"].values()
    )
    assert found["trainings"][0]["households"] == 10
