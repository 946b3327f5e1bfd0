"""The latency benchmark runs and says what it should; how fast anything was is no matter here."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import Received, Sent, latencies
from tests.benchmarks.reports import report

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_reports_every_rate_beside_the_echo(tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    found = report("latency", tmp_path, "--plot", str(picture))
    assert found["environment"]["broker"] == "embedded"
    runs = [*found["stub"]["runs"], *found["stub"]["echo"], *found["pprm"]["runs"]]
    assert {run["rate"] for run in runs} >= {500, 25}
    for run in runs:
        assert run["events"] > 0 and run["p50_ms"] > 0 and run["unanswered"] == 0
    assert picture.stat().st_size > 1000


def test_an_event_is_answered_by_the_first_list_that_knows_it() -> None:
    planned = np.array([1.0, 1.1, 1.2, 1.3])
    sent = Sent(np.array([7, 7, 8, 7]), np.array([0, 2, 1, 3]), planned, planned)
    # the list of user 7 at offset 2 answers both of its events so far; it came twice
    received = Received(np.array([7, 8, 7]), np.array([2, 1, 2]), np.array([1.5, 1.6, 1.9]))
    found = latencies(sent, received)
    assert found[:3] == pytest.approx([0.5, 0.4, 0.4]) and np.isinf(found[3])
