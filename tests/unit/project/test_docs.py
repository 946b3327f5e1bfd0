"""What the documents show is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pprm.data import table
from pprm.data.plan import LEAST_BASKETS
from tests.integration.test_tables import tables

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "pprm" / "artifacts" / "complete-journey"


def blocks(document: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL
    )


def from_readme(directory: Path) -> list[str]:
    """The two tables of the README, and the options that name them."""
    (block,) = (block for block in blocks("README.md", "console") if "head -2 events.csv" in block)
    lines = block.splitlines()
    (directory / "events.csv").write_text("\n".join(lines[1:3]) + "\n")
    (directory / "products.csv").write_text("\n".join(lines[3:5]) + "\n")
    return ["--events", "events.csv", "--products", "products.csv"]


def from_data(directory: Path) -> list[str]:
    """The three tables of docs/data.md."""
    names = {"user_id,product_id": "events", "product_id": "products", "user_id": "users"}
    options: list[str] = []
    for block in blocks("docs/data.md", "csv"):
        name = next(name for head, name in names.items() if block.startswith(head))
        (directory / f"{name}.csv").write_text(block)
        options += [f"--{name}", f"{name}.csv"]
    assert len(options) == 6
    return options


@pytest.mark.parametrize("tables_of", [from_readme, from_data])
@pytest.mark.parametrize("command", [["train", "--out", "model"], ["evaluate"]])
def test_sample_tables_are_read_and_too_little_is_said_to_be_so(
    tables_of: object, command: list[str], tmp_path: Path
) -> None:
    assert callable(tables_of)
    options = tables_of(tmp_path)
    assert table.load(*(tmp_path / name for name in options[1::2])).users
    done = subprocess.run(
        [sys.executable, "-m", "worker", *command, *options], cwd=tmp_path, capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    if command[0] == "train":
        assert f"{LEAST_BASKETS} are needed" in done.stderr and not (tmp_path / "model").exists()
    else:
        assert "cannot be parted" in done.stderr


def test_scoring_from_python(tmp_path: Path) -> None:
    (code,) = blocks("docs/python.md", "python")
    assert (
        len(
            [line for line in code.splitlines() if line and not line.startswith(("from", "import"))]
        )
        <= 10
    )
    tables(tmp_path, visits=60)
    (tmp_path / "my-model").symlink_to(BUNDLED)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lists = done.stdout.splitlines()
    assert len(lists) > 15 and all(line.count("'p") == 10 for line in lists)
