"""What `make pythons` makes of the lock file and of pip's answers."""

import importlib.util
import json
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "pythons", Path(__file__).parents[3] / "deploy" / "pythons.py"
)
assert SPEC and SPEC.loader
pythons = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pythons)


def test_torch_alone_is_taken_out_of_the_lock() -> None:
    lock = pythons.LOCK.read_text()
    found = pythons.TORCH.search(lock)
    others = pythons.TORCH.sub("", lock)
    assert found and found[1].startswith("torch==") and "\n" not in found[1]
    assert "\ntorch==" in lock and "\ntorch==" not in others
    assert others.count("==") == lock.count("==") - 1
    assert all(line.startswith("    --hash") or "==" in line for line in others.splitlines())


@pytest.mark.parametrize(
    ("asks_for", "has"),
    [(["numpy", "cuda-toolkit[cudart]==13.0 ; linux"], True), (["numpy"], False)],
)
def test_a_build_with_cuda_is_known_by_what_it_asks_for(asks_for: list[str], has: bool) -> None:
    report = {"install": [{"metadata": {"requires_dist": asks_for}}]}
    assert pythons.has_cuda(json.dumps(report)) == has


def test_a_command_that_fails_says_why_with_its_last_line() -> None:
    assert not pythons._error("true")
    assert (
        pythons._error("sh", "-c", "echo much >&2; echo no file of it >&2; exit 1")
        == "no file of it"
    )
