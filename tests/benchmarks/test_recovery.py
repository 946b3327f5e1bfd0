"""The recovery benchmark runs and says what it should; how long anything took is no matter here."""

from pathlib import Path

import pytest

from tests.benchmarks.reports import report

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_the_worker_beside_plain_faust(tmp_path: Path) -> None:
    found = report("recovery", tmp_path)
    assert found["users"] == 20_000 and found["bytes"] > 20_000 * 500
    assert set(found["runs"]) == {"worker", "plain Faust"}
    for runs in found["runs"].values():
        for run in runs:
            assert 0 < run["table_seconds"] <= run["recovery_seconds"] <= run["ready_seconds"]
    assert found["ratio"] > 0 and found["ratio_of_the_table"] > 0
