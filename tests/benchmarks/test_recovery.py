"""The recovery benchmark runs and says what it should; how long anything took is no matter here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_the_worker_beside_plain_faust(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.recovery", "--quick", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["users"] == 20_000 and found["bytes"] > 20_000 * 500
    assert set(found["runs"]) == {"worker", "plain Faust"}
    for runs in found["runs"].values():
        for run in runs:
            assert 0 < run["table_seconds"] <= run["recovery_seconds"] <= run["ready_seconds"]
    assert found["ratio"] > 0 and found["ratio_of_the_table"] > 0
