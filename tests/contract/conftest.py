"""Command line tools that check what is deployed.

A check whose tool is absent is skipped and says so.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run() -> Callable[..., None]:
    """Run a tool in the project's root; the test fails with the tool's own words."""

    def run(name: str, *arguments: str, stdin: bytes | None = None) -> None:
        tool = shutil.which(
            name, path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        )
        if tool is None:
            pytest.skip(f"{name} is not installed: Debian package prometheus, or the extra deploy")
        done = subprocess.run(
            [tool, *arguments], cwd=ROOT, input=stdin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    return run
