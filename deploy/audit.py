"""`make audit`: known vulnerabilities in requirements.lock, by pip-audit.

It reports; no test depends on it.

pip-audit asks PyPI over the network. Where that does not answer it says of every package that it is
unknown, which reads like a clean bill; here it is said for what it is. Exit codes: 0 none known, 1
some are, 2 nobody could be asked.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "requirements.lock"
TIMEOUT = 600


def ask(pip_audit: str) -> list[dict[str, Any]] | str:
    """pip-audit's findings per package, or why there are none."""
    command = [
        pip_audit,
        "--requirement",
        str(LOCK),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT} s"
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return (
            done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"exit code {done.returncode}"
        )
    return found


def report(found: list[dict[str, Any]] | str) -> tuple[int, str]:
    """Exit code and what to print."""
    if isinstance(found, str):
        return (
            2,
            f"NOT AUDITED: pip-audit could not ask its service: {found}. It needs the network.",
        )
    asked = [package for package in found if "skip_reason" not in package]
    if not asked:
        return (
            2,
            f"NOT AUDITED: the service knows none of the {len(found)} packages. Does the network"
            f" reach PyPI?",
        )
    lines = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in"
        f" {vulnerability['fix_versions']}"
        for package in asked
        for vulnerability in package["vulns"]
    ]
    lines += [f"not asked: {package['name']}" for package in found if package not in asked]
    known = sum(len(package["vulns"]) for package in asked)
    return min(known, 1), "\n".join(
        [*lines, f"{len(asked)} packages audited, {known} vulnerabilities known"]
    )


if __name__ == "__main__":
    code, text = report(ask(sys.argv[1]))
    print(text)
    sys.exit(code)
