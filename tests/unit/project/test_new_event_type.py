"""CONTRIBUTING's example of a new event type, applied to a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "CONTRIBUTING.md").read_text().partition("### A new event type")[2]
EDITS: dict[str, str] = {}
"""By file the lines of its diff."""
for about, diff in re.findall(r"([^\n]+(?:\n[^\n]+)*):\n\n```diff\n(.*?)```", EXAMPLE, re.DOTALL):
    EDITS[next(name for name in re.findall(r"`([\w/]+\.py)`", about))] = diff

SEEN = """
import json
from collections import namedtuple
from pathlib import Path

from typer.testing import CliRunner

import worker
from schemas import document
from worker.cli.app import cli
from worker.kafka import topics
from worker.pipeline import codec
from worker.settings import load

assert Path(worker.__file__).parents[1] == Path.cwd(), "the copy is what runs"


def pprm(*arguments):
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"}).output


settings = load({"topics": {"prefix": "shop-"}})
print(*(spec.name for spec in topics.plan(settings) if "wish" in spec.name))
print(*(word for word in pprm("topics", "acls").split() if "wish" in word))
print(*(name for name in document.asyncapi()["channels"] if "wish" in name))
print(*(name for name in document.files() if "wish" in name))
print(*(word for word in pprm("send", "--help").split() if word == "wishes"))
print("--product" in pprm("send", "wishes", "--help"))
names = "topic partition offset timestamp key value headers"
said = {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": "2026-01-02T03:04:05Z"}
record = namedtuple("Record", names)("wishes", 0, 7, 0, b"u", json.dumps(said).encode(), [])
decoded = codec.decode("wishes", record, 1.8e9)
print(decoded.event.kind.name, decoded.event.position.source)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the new event type."""
    directory = tmp_path_factory.mktemp("copy")
    unneeded = shutil.ignore_patterns("artifacts", "corpus")
    for room in ("pprm", "schemas", "tests", "worker"):
        shutil.copytree(ROOT / room, directory / room, ignore=unneeded)
    for name, diff in EDITS.items():
        apply(directory / name, diff)
    return directory


def apply(path: Path, diff: str) -> None:
    """Make the changes of a diff without line numbers: what it shows stands in the file once."""
    text = path.read_text() if path.exists() else ""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] or line for line in lines if not line.startswith("+"))
        after = "".join(line[1:] or line for line in lines if not line.startswith("-"))
        assert text.count(before) == 1 or not text, f"{path}: {before!r}"
        text = text.replace(before, after) if text else after
    path.write_text(text)


def python(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(directory)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_it_is_a_topic_a_right_a_contract_a_command_and_an_event(copy: Path) -> None:
    said = python(copy, "-c", SEEN)
    assert said.stdout.splitlines() == [
        "shop-wishes",
        "wishes",
        "wishes",
        "json/wish.json",
        "wishes",
        "True",
        "ADD_TO_CART 5",
    ], said.stdout + said.stderr


# without conftest.py, which imports the model
COMPARED = ("-m", "pytest", "-q", "--noconftest", "tests/unit/project/test_families.py")


def test_the_lists_that_cannot_be_derived_agree(copy: Path) -> None:
    said = python(copy, *COMPARED)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    "forgotten", ["worker/settings.py", "pprm/core/events.py", "tests/faults/oracle/state.py"]
)
def test_a_list_that_is_forgotten_is_named(copy: Path, forgotten: str) -> None:
    edited = (copy / forgotten).read_text()
    shutil.copy(ROOT / forgotten, copy / forgotten)
    try:
        said = python(copy, *COMPARED)
    finally:
        (copy / forgotten).write_text(edited)
    assert said.returncode == 1 and "wishes" in said.stdout, said.stdout + said.stderr
