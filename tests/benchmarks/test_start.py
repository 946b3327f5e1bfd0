"""The benchmark of the start runs and says what it should; how long anything took is no matter here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_when_the_worker_had_come_how_far(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.start", "--quick", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["environment"]["broker"] == "embedded" and found["products"] > 10_000
    seconds = found["median_seconds"]
    assert next(iter(seconds)) == "imported" and list(seconds)[-1] == "ready"
    assert 0 < seconds["imported"] < seconds["model loaded"] < seconds["catalogue read"] < seconds["ready"]
