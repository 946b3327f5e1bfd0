"""Write dashboards/pprm-worker.json, the worker's Grafana dashboard.

`python deploy/grafana/dashboard.py`.

Needs the extra `deploy`. Edit the panels in panels.yml, never in the JSON: a test compares them.
"""

import json
from itertools import count
from pathlib import Path
from typing import TypedDict, TypeVar

import yaml
from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueTextMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
)

PANELS = Path(__file__).parent / "panels.yml"
TARGET = Path(__file__).parent / "dashboards" / "pprm-worker.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
"""Width of Grafana's grid."""

Builder = TypeVar("Builder", stat.Panel, timeseries.Panel)


class Panel(TypedDict):
    """One panel of panels.yml.

    What it shows, in which unit, what that means, and the PromQL of each legend entry.
    """

    title: str
    unit: str
    meaning: str
    queries: dict[str, str]


def dashboard() -> str:
    """The dashboard as JSON: classic model, schema version 42, which Grafana 10 to 13 read."""
    numbers = count(1)
    board = (
        Dashboard("PPRM worker")
        .uid("pprm-worker")
        .description(
            "Event-driven recommendations: events in, lists out, and what happens between."
        )
        .tags(["pprm", "kafka", "recommendations"])
        .time("now-15m", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_instances())
    )
    rows: dict[str, list[Panel]] = yaml.safe_load(PANELS.read_text())
    now = rows.pop("Now")
    for panel in now:
        board.with_panel(_stat(panel).id(next(numbers)).span(COLUMNS // len(now)).height(4))
    for title, panels in rows.items():
        board.with_row(Row(title).id(next(numbers)))
        for panel in panels:
            board.with_panel(_timeseries(panel).id(next(numbers)).span(COLUMNS // 3).height(8))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _instances() -> QueryVariable:
    return (
        QueryVariable("instance")
        .label("Worker")
        .datasource(SOURCE)
        .query("label_values(pprm_ready, instance)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .current(VariableOption(text="All", value="$__all"))
        .all_value(".*")
        .multi(True)
    )


def _stat(panel: Panel) -> stat.Panel:
    # A panel without a unit shows a name, not a number: which model serves.
    shown = BigValueTextMode.NAME if panel["unit"] == "none" else BigValueTextMode.VALUE
    newest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return _described(stat.Panel().text_mode(shown).reduce_options(newest), panel)


def _timeseries(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    drawn = timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(10).line_width(1).min(0)
    return _described(drawn, panel)


def _described(builder: Builder, panel: Panel) -> Builder:
    builder.title(panel["title"]).description(panel["meaning"]).unit(panel["unit"]).datasource(
        SOURCE
    )
    for letter, (legend, expression) in zip("ABCDEF", panel["queries"].items(), strict=False):
        query = (
            Dataquery()
            .ref_id(letter)
            .expr(expression)
            .legend_format(legend)
            .datasource(SOURCE)
            .range()
        )
        builder.with_target(query)
    return builder


if __name__ == "__main__":
    TARGET.write_text(dashboard())
