"""The figures at the end."""

import json
import subprocess

from worker.demo.demo_progress import DemoProgress
from worker.demo.prequential import Scores
from worker.demo.report import figures, kcat_lines, meanwhile, summary, what_is_left


def after_a_replay() -> DemoProgress:
    progress = DemoProgress(
        broker="127.0.0.1:9092", households=3, backfill_events=100, events=20, date=1_511_000_000
    )
    progress.replay_began, progress.replay_ended, progress.seconds_to_first = 10.0, 12.0, 7.234
    progress.scores = Scores(4, hit=3, pprm=1.0, others={"popularity": 0.4, "top_frequency": 0.8})
    progress.lists.latencies = [0.01, 0.02, 0.03]
    progress.lists.received, progress.lists.unasked = 5, 2
    progress.lists.model = {"name": "PPRM-S", "version": "1", "sha256": "ab"}
    progress.ended = "complete"
    return progress


def test_the_report_has_every_figure() -> None:
    assert figures(after_a_replay()) == {
        "ended": "complete",
        "households": 3,
        "households_with_events": 3,
        "households_with_lists": 0,
        "backfill_events": 100,
        "events": 20,
        "recommendations": 5,
        "unasked": 2,
        "dead_letters": 0,
        "seconds_to_first_recommendation": 7.23,
        "events_per_second": 10.0,
        "latency_seconds": {"p50": 0.02, "p99": 0.0298},
        "online": {
            "baskets": 4,
            "hit_rate_at_10": 0.75,
            "ndcg_at_10": 0.25,
            "popularity_ndcg_at_10": 0.1,
            "top_frequency_ndcg_at_10": 0.2,
        },
        "model": {"name": "PPRM-S", "sha256": "ab"},
    }


def test_what_did_not_happen_is_null_not_zero() -> None:
    report = json.loads(json.dumps(figures(DemoProgress())))
    assert report["seconds_to_first_recommendation"] is report["events_per_second"] is None
    assert report["latency_seconds"] == {"p50": None, "p99": None}
    assert report["online"]["ndcg_at_10"] is None
    assert "before the first list" in summary(DemoProgress())


def test_the_summary_names_both_baselines_and_what_is_left_out() -> None:
    text = summary(after_a_replay())
    for said in (
        "75%",
        "0.250",
        "own frequency with popularity 0.200",
        "popularity 0.100",
        "p99 30 ms",
        "simulation",
    ):
        assert said in text
    assert "DO NOT BEAT" not in text


def test_lists_that_are_worth_nothing_are_called_so() -> None:
    progress = after_a_replay()
    progress.scores.others["looked_at_last"] = 1.2
    assert "DO NOT BEAT looked at last" in summary(progress)


def test_the_publishing_line_survives_the_shell() -> None:
    publish = kcat_lines(after_a_replay())[1]
    assert "-X topic.partitioner=murmur2_random" in publish
    echoed = subprocess.run(
        ["sh", "-c", publish.split(" | ")[0]], capture_output=True, text=True, check=True
    ).stdout
    key, value = echoed.strip().split("|", 1)
    assert json.loads(value)["user_id"] == key


def test_it_says_what_is_kept() -> None:
    progress = after_a_replay()
    assert "kept nothing" in what_is_left(progress)
    progress.embedded, progress.prefix = False, "demo-abc-"
    assert "demo-abc-* stay on 127.0.0.1:9092" in what_is_left(progress)
    assert "-t demo-abc-recommendations" in meanwhile(progress)
