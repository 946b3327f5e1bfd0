"""What the smoke tests share."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def report(name: str, directory: Path, *more: str) -> dict[str, Any]:
    """Run a benchmark with --quick; returns its report."""
    path = directory / "report.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--report", str(path), *more]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    assert {"cpu", "cores", "packages", "commit", "command"} <= found["environment"].keys()
    return found
