"""`make pythons`: the tests on every Python from 3.11 on that is installed here.

Each gets an environment of its own (.venv-3.12 ...) with what requirements.lock pins, and runs the
unit and contract tests and one with a broker and a worker. A Python on which the lock cannot be
installed is refused, with pip's reason, and so is one for which pip would take torch with CUDA:
that is gigabytes, which no test needs. A folder with a build for the CPU helps, named by
PIP_FIND_LINKS, or PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
NEWEST = 19
"""Minor version of Python 3 at which the search ends."""
TESTS = (
    "tests/unit",
    "tests/contract",
    "tests/integration/test_worker.py::test_a_stop_during_the_start_is_a_clean_end",
)
TORCH = re.compile(r"^(torch==\S+) \\\n(?: +--hash=[^\n]*\n)+", re.MULTILINE)


def installed() -> dict[str, str]:
    """Commands by version ("3.12"): those on the path, then pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in (f"3.{minor}" for minor in range(11, NEWEST + 1)):
        on_path = shutil.which(f"python{version}")
        candidates: list[str | Path] = [
            *filter(None, [on_path]),
            *pyenv.glob(f"{version}.*/bin/python{version}"),
        ]
        if command := next((str(path) for path in candidates if not _error(path, "-V")), None):
            found[version] = command
    return found


def has_cuda(report: str) -> bool:
    """Whether what pip would take, by its report, asks for CUDA."""
    chosen = json.loads(report)["install"]
    asked = [name for one in chosen for name in one["metadata"].get("requires_dist", [])]
    return any("cuda" in name or "nvidia" in name for name in asked)


def trouble(version: str, command: str) -> str:
    """Install and test; say in words what was wrong, nothing if nothing was."""
    lock, folder = LOCK.read_text(), ROOT / f".venv-{version}"
    torch, others = TORCH.search(lock), TORCH.sub("", lock)
    assert torch
    if failed := _error(command, "-m", "venv", folder):
        return failed
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps"]
    with tempfile.TemporaryDirectory() as temporary:
        report, lines = Path(temporary, "report.json"), Path(temporary, "others.txt")
        if failed := _error(*pip, "--dry-run", "--report", report, torch[1]):
            return failed
        if has_cuda(report.read_text()):
            return f"refused: pip takes {torch[1]} with CUDA, which is gigabytes"
        lines.write_text(others)
        itself: list[str | Path] = ["--ignore-requires-python", "--editable", ROOT]
        for wanted in ([torch[1]], ["--requirement", lines], itself):
            if failed := _error(*pip, *wanted):
                return f"refused: {failed}"
    tests = subprocess.run([folder / "bin/python", "-m", "pytest", "-n", "3", *TESTS], cwd=ROOT)
    return "tests FAILED" if tests.returncode else ""


def _error(*command: str | Path) -> str:
    """Run a command; the last line of what it complains of, nothing if it went well."""
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stderr.strip() or "failed").splitlines()[-1] if done.returncode else ""


def main(versions: Sequence[str]) -> None:
    """Try these, or all that are installed; fail where tests did."""
    found = installed()
    came = {version: trouble(version, found[version]) for version in versions or found}
    for version, wrong in came.items():
        print(f"Python {version}: {wrong or 'passed'}")
    sys.exit("tests FAILED" in came.values())


if __name__ == "__main__":
    main(sys.argv[1:])
