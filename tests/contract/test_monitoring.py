"""Metrics, rules, alerts, runbook and dashboard fit together, checked without a network.

The tools come from the extra `deploy` and from Debian's package prometheus (promtool).
"""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from worker.ops import metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/pprm-worker.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules/pprm.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
NOT_ON_THE_DASHBOARD = {"process_virtual_memory_bytes", "process_start_time_seconds"}
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
    "gauge": ("",),
}

sdk = pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
"""Grafana's SDK recommends the newest model on import; we ship the classic one, which Grafana 10 to
13 read."""

QUERIES = runpy.run_path(str(DEPLOY / "grafana/check_panels.py"))["queries"]
TARGETS = [(f"{title}: {legend}", promql) for title, legend, promql in QUERIES(DASHBOARD)]


def exported(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Names of the series of each metric family."""
    return {
        family.name: {f"{family.name}{suffix}" for suffix in SUFFIXES[family.type]}
        for family in registry.collect()
    }


def metric_names(promql: str) -> set[str]:
    """Names of all vectors in an expression."""
    parser = pytest.importorskip(
        "promql_parser", reason="promql-parser is not installed: extra deploy"
    )
    found: set[str] = set()
    # The walk does not enter a range selector: its vector is an attribute.
    parser.walk(
        parser.parse(promql),
        lambda node: found.add(getattr(getattr(node, "vector_selector", node), "name", "")),
    )
    return found - {""}


@pytest.fixture(scope="module")
def families() -> dict[str, set[str]]:
    return exported(metrics.create().registry)


@pytest.mark.parametrize("promql", [p for _, p in TARGETS], ids=[name for name, _ in TARGETS])
def test_every_panel_uses_metrics_that_exist(promql: str, families: dict[str, set[str]]) -> None:
    assert "$" not in promql, "a macro that check_panels.py does not know"
    assert metric_names(promql)
    assert metric_names(promql) <= set().union(*families.values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_uses_metrics_that_exist(
    rule: dict[str, Any], families: dict[str, set[str]]
) -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert metric_names(rule["expr"]) <= set().union(*families.values()) | recorded | {"up"}


def test_every_metric_is_on_the_dashboard(families: dict[str, set[str]]) -> None:
    shown = set().union(*(metric_names(promql) for _, promql in TARGETS))
    unseen = {name for name, series in families.items() if not series & shown}
    assert unseen == NOT_ON_THE_DASHBOARD


def test_every_metric_is_set_somewhere_in_the_worker() -> None:
    sources = "".join(
        path.read_text() for path in (ROOT / "worker").rglob("*.py") if path.name != "metrics.py"
    )
    unset = [
        name
        for name in metrics.Metrics.__slots__
        if name != "registry" and f"metrics.{name}." not in sources
    ]
    assert not unset


@sdk
def test_dashboard_is_what_its_generator_makes() -> None:
    pytest.importorskip(
        "grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed: extra deploy"
    )
    made = runpy.run_path(str(DEPLOY / "grafana/dashboard.py"))["dashboard"]()
    assert json.loads(made) == DASHBOARD, (
        "run `python deploy/grafana/dashboard.py` and commit the file"
    )


@sdk
def test_dashboard_survives_grafanas_own_schema() -> None:
    pytest.importorskip(
        "grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed: extra deploy"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    assert json.loads(json.dumps(Dashboard.from_json(DASHBOARD), cls=JSONEncoder)) == DASHBOARD


def test_dashboard_can_be_provisioned() -> None:
    assert not {"id", "__inputs"} & DASHBOARD.keys()
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == ("pprm-worker", 42)
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    sources = {
        json.dumps(part["datasource"]) for panel in panels for part in (panel, *panel["targets"])
    }
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    windows = {
        window
        for panel in panels
        for t in panel["targets"]
        for window in re.findall(r"\[[^]]*]", t["expr"])
    }
    assert windows == {"[$__rate_interval]"}
    assert all(
        panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels
    )
    provisioned = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    assert provisioned["datasources"][0]["uid"] == "prometheus"


def test_every_alert_has_its_section_in_the_runbook() -> None:
    headings = re.findall(
        r"^## (Pprm\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    assert sorted(headings) == sorted(alert["alert"] for alert in ALERTS)
    for alert in ALERTS:
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_alert_is_seen_firing_in_a_rule_test() -> None:
    text = (PROMETHEUS / "tests/pprm.yml").read_text()
    assert all(alert["alert"] in text for alert in ALERTS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "rules/pprm.yml"),
        ("test", "rules", "tests/pprm.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_is_content(run: Callable[..., None], arguments: tuple[str, ...]) -> None:
    run("promtool", *arguments[:-1], str(PROMETHEUS / arguments[-1]))


def test_promtool_is_content_with_the_metrics(run: Callable[..., None]) -> None:
    body, _ = metrics.renderer(metrics.create(["purchases"], ["schema"], ["user_state"]))("")
    run("promtool", "check", "metrics", stdin=body)
