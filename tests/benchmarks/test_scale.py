from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import growth, shop
from benchmarks.scale.__main__ import flatness
from benchmarks.scale.partitions import PAPER, paper
from benchmarks.scale.store import STAGES
from pprm.state import user_state
from tests.benchmarks.reports import report


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_report_has_all_sections(tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    found = report("scale", tmp_path, "--plot", str(plot))
    assert plot.read_bytes().startswith(b"\x89PNG")
    for row in [*found["users"], *found["history"]]:
        stages = row["us_per_event"]
        assert stages["all"] == pytest.approx(sum(stages[name] for name in STAGES))
    assert {"median", "p95", "max"} <= found["state"]["bytes"].keys()
    assert found["workers"][0]["cpu_us_per_event"] > 0
    long = found["long"]
    assert (
        long["events"] == 5000 == long["curve"]["events"][-1]
        and len(set(map(len, long["curve"].values()))) == 1
    )


def test_shoppers_of_the_benchmark_are_read_by_the_worker() -> None:
    made = shop.state_after(7, 12)
    assert made.purchases == len({(n // shop.OF_A_BASKET, shop.bought(7, n)) for n in range(12)})
    assert user_state.encode(user_state.decode(user_state.encode(made))) == user_state.encode(made)
    assert growth.FIRST_OFFSET > 12


def test_a_batch_has_no_shopper_twice() -> None:
    batches = shop.batches(10, 4, seed=0)
    assert all(len(set(next(batches))) == 4 for _ in range(5))


def test_paper_is_a_straight_line() -> None:
    names = ("resident_bytes", "open_files", "idle_cores", "ready_seconds")
    idle = [{"partitions": n, **dict.fromkeys(names, 100 + 2 * n)} for n in (1, 8, 64)]
    full = [{"partitions": n, "resident_bytes": 50 * n} for n in (1, 4)]
    rows = paper(idle, full, {"partitions": 4, "resident_bytes": 12})
    assert [row["partitions"] for row in rows] == list(PAPER)
    assert rows[-1]["idle_bytes"] == pytest.approx(2100) and rows[-1][
        "cache_bytes"
    ] == pytest.approx(50_000)


def test_a_run_that_does_not_grow_is_flat() -> None:
    events = np.arange(0, 1000, 10).tolist()
    assert flatness({"events": events, "resident": [5.0] * 100})[
        "bytes_per_million_events"
    ] == pytest.approx(0, abs=1)
    rising = flatness({"events": events, "resident": [3.0 * e for e in events]})
    assert rising["bytes_per_million_events"] == pytest.approx(3e6)
