"""The stream benchmark runs, judges its contenders, and says what it found.

Its figures are nobody's business here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.stream.contenders import CONTENDERS

pytestmark = pytest.mark.integration
# On the embedded broker: Quix Streams asks its topics for settings that it does not tell.
ALWAYS = {"ours", "ours_rekeying", "raw_send_batch", "plain_faust"}


def test_a_quick_run_reports_all_contenders_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.stream",
        "--quick",
        "--broker",
        "embedded",
        "--report",
        str(path),
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PPRM_")
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    ran, not_run = report["contenders"], report["not_run"]
    assert ran.keys() | not_run.keys() == set(CONTENDERS) and not ran.keys() & not_run.keys()
    assert ran.keys() >= ALWAYS, not_run
    assert report["ratios"].keys() == report["cpu_ratios"].keys() == ran.keys() - {"ours"}
    assert all(
        ran[name]["events_per_second"] > 0 and ran[name]["cpu_us_per_event"] > 0 for name in ran
    )
    assert all(ratio > 0 for ratio in report["ratios"].values())
    assert report["environment"]["broker"] == "embedded" and report["environment"]["quick"]
