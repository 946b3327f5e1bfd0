"""The demo's shell on the embedded broker, with a worker that always recommends the same."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from pprm.data.source import Source
from tests.integration.test_tables import tables
from worker.demo.data import load

pytestmark = pytest.mark.integration

FAKE = [sys.executable, "-m", "tests.integration.fake_worker"]
DEMO = """
import sys
from pathlib import Path
from worker.demo.run import DemoOptions, run
events, rate, report, *command = sys.argv[1:]
options = DemoOptions(20, int(events), float(rate) or None, ui=False, report=Path(report))
sys.exit(run(options, command))
"""


def start(
    directory: Path, events: int = 300, rate: float = 0, worker: list[str] = FAKE
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", DEMO, str(events), str(rate), str(directory / "report.json"),
        *worker, str(directory)],
        env=os.environ | {"TMPDIR": str(directory)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def left_behind(output: str, directory: Path) -> list[str]:
    """Command lines of the demo's worker and broker that still run.

    The worker's has the directory as an argument.
    """
    broker = re.search(r"embedded broker: (\S+)", output)
    assert broker
    lines = subprocess.run(
        ["ps", "-eo", "args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in lines if str(directory) in line or broker[1] in line]


def test_it_ends_with_a_report_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    assert (report["ended"], report["events"], report["dead_letters"]) == ("complete", 300, 0)
    assert report["households_with_lists"] == report["households_with_events"] == 20
    assert report["backfill_events"] > 1000
    assert report["recommendations"] > 20
    assert 0 < report["online"]["baskets"] < report["recommendations"]
    assert 0 < report["latency_seconds"]["p50"] <= report["latency_seconds"]["p99"]
    assert report["model"] == {"name": "fake", "sha256": "0" * 64}
    assert "kcat -b 127.0.0.1:" in output
    assert not left_behind(output, tmp_path)
    assert not list(tmp_path.glob("pprm-demo-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_the_same_summary(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path, rate=20)
    assert demo.stdout
    seen = ""
    while "events/s" not in seen:
        seen += demo.stdout.readline()
    demo.send_signal(number)
    output = seen + demo.communicate(timeout=30)[0]
    assert demo.returncode == 0, output
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    assert report["ended"] == "interrupted"
    assert 0 <= report["events"] < 300
    assert "First list" in output
    assert "exception" not in output.lower()
    assert not left_behind(output, tmp_path)


def test_ctrl_c_works_before_there_is_anything_to_tell(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout
    seen = demo.stdout.readline()
    time.sleep(0.1)
    demo.send_signal(signal.SIGINT)
    output = seen + demo.communicate(timeout=30)[0]
    assert demo.returncode == 0, output
    assert "Ended before the first list." in output
    assert not left_behind(output, tmp_path)


def test_a_worker_that_dies_is_told_and_ends_it(tmp_path: Path) -> None:
    demo = start(tmp_path, worker=[*FAKE, "--die"])
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "the worker ended with code 1" in output
    assert "no more lists from me" in output
    assert not left_behind(output, tmp_path)


def demo_of(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """`pprm demo` of another shop, with a real worker."""
    command = [
        sys.executable,
        "-m",
        "worker",
        "demo",
        "--no-ui",
        "--report",
        str(directory / "report.json"),
    ]
    return subprocess.run(
        [*command, *options], env=os.environ | {"TMPDIR": str(directory), "PPRM_HTTP__PORT": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=110,
    )  # fmt: skip


def test_any_shop_can_be_replayed(tmp_path: Path) -> None:
    options = tables(tmp_path)
    files = ["--file", options[1], "--file", options[3]]
    with Path(options[1]).open("a") as events:
        events.write("u1,p1,2017-06-02T00:00:00Z,review,,\nu1,p1,2017-09-01T00:00:00Z,review,,\n")
    demo = demo_of(tmp_path, "--households", "all", "--dataset", "table", *files)
    assert demo.returncode == 0, demo.stdout
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    lines = Path(options[1]).read_text().splitlines()[1:]
    shop = load(Source("table", (Path(options[1]), Path(options[3]))), None)
    replayed = [
        visit for visits in shop.history.values() for visit in visits if visit.time >= shop.begin
    ]
    assert {visit.family for visit in replayed} == {"purchases", "browses", "reviews"}
    assert report["events"] == sum(len(visit.products) for visit in replayed)
    assert report["backfill_events"] + report["events"] == len(lines)
    assert (report["ended"], report["dead_letters"], report["households_with_lists"]) == (
        "complete",
        0,
        20,
    )
    assert report["recommendations"] >= 20 + len(replayed)
    assert report["online"]["baskets"] == sum(
        visit.family == "purchases" and bool(set(visit.products) & set(shop.universe))
        for visit in replayed
    )
    assert report["online"]["ndcg_at_10"] > 0
    assert "the bundled model knows groceries" in demo.stdout and "simulation" not in demo.stdout
    assert "20 shoppers of table" in demo.stdout
    assert not left_behind(demo.stdout, tmp_path)


def test_files_that_are_not_the_datasets_are_told(tmp_path: Path) -> None:
    missing = demo_of(tmp_path, "--dataset", "rees46", "--file", str(tmp_path / "2019-Oct.csv"))
    assert missing.returncode == 1 and "2019-Oct.csv: no such file" in missing.stdout
    assert not left_behind(missing.stdout, tmp_path)
    few = demo_of(
        tmp_path, "--dataset", "google-merchandise", "--file", str(tmp_path / "events.csv")
    )
    assert (
        few.returncode == 1 and "1 files are not what google-merchandise is read from" in few.stdout
    )
    none = demo_of(tmp_path, "--dataset", "yelp")
    assert none.returncode == 2 and "--file" in none.stdout
