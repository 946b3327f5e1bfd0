import json

import pytest
from prometheus_client import Counter, Gauge, Histogram

from worker.ops import metrics
from worker.ops.metrics import Metrics


@pytest.fixture
def instruments() -> Metrics:
    return metrics.create(
        ["purchases", "browses"], ["not_json", "schema"], ["user_state"], ["text"], ["event"]
    )


def series(instruments: Metrics) -> set[str]:
    return {sample.name for family in instruments.registry.collect() for sample in family.samples}


def test_every_metric_has_the_prefix_and_a_meaning(instruments: Metrics) -> None:
    ours = [
        family
        for family in instruments.registry.collect()
        if not family.name.startswith("process_")
    ]
    assert all(
        family.name.startswith("pprm_") and family.documentation.endswith(".") for family in ours
    )


def test_counters_and_histograms_start_at_zero_for_every_known_label_value(
    instruments: Metrics,
) -> None:
    value = instruments.registry.get_sample_value
    assert value("pprm_events_invalid_total", {"topic": "browses", "reason": "schema"}) == 0
    assert [
        value("pprm_stage_duration_seconds_count", {"stage": stage}) for stage in metrics.STAGES
    ] == [0] * 6
    labelled = [
        instrument
        for name in Metrics.__slots__
        if isinstance(instrument := getattr(instruments, name), Counter | Histogram)
    ]
    assert all(family.samples for instrument in labelled for family in instrument.collect())


def test_no_series_per_user_or_product(instruments: Metrics) -> None:
    labels = {
        label for name in Metrics.__slots__[1:] for label in getattr(instruments, name)._labelnames
    }
    assert labels <= {
        "topic",
        "partition",
        "reason",
        "stage",
        "table",
        "state",
        "what",
        "why",
        "cause",
    }


def test_partitions_are_forgotten_on_a_rebalance(instruments: Metrics) -> None:
    instruments.consumer_lag.labels("purchases", "0").set(3)
    instruments.event_time_lag_seconds.labels("purchases").set(1)
    metrics.forget_partitions(instruments)
    assert not {"pprm_consumer_lag", "pprm_event_time_lag_seconds"} & series(instruments)
    instruments.consumer_lag.labels("purchases", "0").set(4)
    assert (
        instruments.registry.get_sample_value(
            "pprm_consumer_lag", {"topic": "purchases", "partition": "0"}
        )
        == 4
    )


def test_whatever_is_per_partition_is_forgotten() -> None:
    instruments = metrics.create()
    partitioned = [
        gauge
        for name in Metrics.__slots__
        if isinstance(gauge := getattr(instruments, name), Gauge)
        and "partition" in gauge._labelnames
    ]
    for gauge in partitioned:
        gauge.labels(*["0"] * len(gauge._labelnames)).set(1)
    metrics.forget_partitions(instruments)
    assert not any(family.samples for gauge in partitioned for family in gauge.collect())


@pytest.mark.parametrize(
    ("accept", "content_type", "ends_with_eof"),
    [
        ("", "text/plain; version=0.0.4", False),
        ("application/openmetrics-text", "application/openmetrics-text", True),
    ],
    ids=["text", "openmetrics"],
)
def test_the_exposition_is_what_the_scraper_asks_for(
    instruments: Metrics, accept: str, content_type: str, ends_with_eof: bool
) -> None:
    body, answered = metrics.renderer(instruments)(accept)
    assert answered.startswith(content_type)
    assert body.endswith(b"# EOF\n") is ends_with_eof


def test_registries_are_independent() -> None:
    first, second = metrics.create(), metrics.create()
    first.rebalances.inc()
    assert second.registry.get_sample_value("pprm_rebalances_total") == 0


def test_build_says_which_model_serves(instruments: Metrics) -> None:
    labels = {"version": "0.1.0", "model": "pprm-s", "model_version": "1", "model_sha256": "00"}
    instruments.build.info(labels)
    assert instruments.registry.get_sample_value("pprm_build_info", labels) == 1, json.dumps(labels)
