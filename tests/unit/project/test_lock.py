import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements.lock", "deploy/worker.lock", "deploy/cuda.lock", "deploy/torch-cpu.lock")
LEFT_OUT = {"sentence-transformers"}
"""What a package asks for and nothing here uses."""


def entries(lock: str) -> dict[str, str]:
    """Version by package; each must have hashes."""
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text().strip())
    found = {}
    for block in blocks:
        pin, *hashes = block.splitlines()
        assert hashes and all(
            re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes
        ), pin
        name, version = pin.split(" ")[0].split("==")
        found[name] = version
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_hashes(lock: str) -> None:
    assert entries(lock)


def test_the_locks_agree() -> None:
    everything = entries("requirements.lock")
    assert entries("deploy/worker.lock").items() <= everything.items()
    assert entries("deploy/torch-cpu.lock") == {"torch": everything["torch"]}
    assert not entries("deploy/cuda.lock").keys() & everything.keys()


def test_the_workers_lock_is_complete() -> None:
    """It is installed with --no-deps: what it lacks is an ImportError in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = entries("deploy/worker.lock")
    wanted = [Requirement(text) for text in project["dependencies"]]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ) or name in LEFT_OUT:
            continue
        assert name in locked and requirement.specifier.contains(locked[name]), requirement
        if name not in seen:
            seen.add(name)
            needed = (Requirement(text) for text in importlib.metadata.requires(name) or [])
            wanted += [r for r in needed if not r.name.startswith(("nvidia", "cuda", "triton"))]
