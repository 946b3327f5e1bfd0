"""What a worker logs.

One JSON object a line, each with its level, however it was started, and nothing else.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
STARTS = {
    "pprm": ["-m", "worker", "worker"],
    "faust": ["-m", "faust", "-A", "worker.app", "worker"],
}


@pytest.mark.parametrize("how", STARTS)
def test_lines_are_json_and_have_their_own_level(how: str, tmp_path: Path) -> None:
    settings = {
        "PPRM_LOG__FORMAT": "json", "PPRM_HTTP__PORT": "0", "PPRM_STATE__DIRECTORY": str(tmp_path),
        "PPRM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "PPRM_MODEL__DEVICE": "cpu",
    }  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, *STARTS[how]], env=os.environ | settings, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    lines: list[dict[str, str]] = []
    assert worker.stderr
    try:
        while not any(line["event"] == "model loaded" for line in lines):
            lines.append(json.loads(worker.stderr.readline()))
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stderr.close()
    levels = {line["event"]: line["level"] for line in lines}
    assert levels["model loaded"] == levels["serving metrics and health"] == "info"
