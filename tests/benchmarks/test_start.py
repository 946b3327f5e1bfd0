"""The benchmark of the start runs and says what it should.

How long anything took is no matter here.
"""

from pathlib import Path

import pytest

from tests.benchmarks.reports import report

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_when_the_worker_had_come_how_far(tmp_path: Path) -> None:
    found = report("start", tmp_path)
    assert found["environment"]["broker"] == "embedded" and found["products"] > 10_000
    seconds = found["median_seconds"]
    assert next(iter(seconds)) == "imported" and list(seconds)[-1] == "ready"
    assert (
        0
        < seconds["imported"]
        < seconds["model loaded"]
        < seconds["catalogue read"]
        < seconds["ready"]
    )
