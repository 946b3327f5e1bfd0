"""Does every dashboard panel have data?

Runs each panel's PromQL against a Prometheus and prints what comes back.

    python deploy/grafana/check_panels.py [http://127.0.0.1:9090] [--minutes 5]

Exit code 1 when a panel has no number to show, 2 when Prometheus does not answer. Needs nothing but
Python.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

DASHBOARD = Path(__file__).parent / "dashboards" / "pprm-worker.json"
MACROS = {"$__rate_interval": "1m", "$instance": ".*"}
"""What Grafana would put in place of its variables."""

STEP_SECONDS = 5


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(panel title, legend, PromQL without Grafana's macros) of every target."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression: str = target["expr"]
            for macro, value in MACROS.items():
                expression = expression.replace(macro, value)
            yield panel["title"], target["legendFormat"], expression


def newest_values(prometheus: str, expression: str, minutes: float) -> list[float]:
    """The newest number of each series in the last minutes.

    NaN, which Grafana does not draw, is no number.
    """
    now = time.time()
    asked = urlencode(
        {"query": expression, "start": now - 60 * minutes, "end": now, "step": STEP_SECONDS}
    )
    with urlopen(f"{prometheus}/api/v1/query_range?{asked}", timeout=30) as response:
        series = json.load(response)["data"]["result"]
    numbers = ([float(v) for _, v in one["values"] if math.isfinite(float(v))] for one in series)
    return [values[-1] for values in numbers if values]


def main() -> int:
    """Print a line per query, and the panels that show nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prometheus", nargs="?", default="http://127.0.0.1:9090")
    parser.add_argument(
        "--minutes", type=float, default=5, help="how far back a number may lie (default 5)"
    )
    arguments = parser.parse_args()
    filled: dict[str, bool] = {}
    for title, legend, expression in queries(json.loads(DASHBOARD.read_text())):
        try:
            values = newest_values(arguments.prometheus, expression, arguments.minutes)
        except URLError as error:
            print(f"{arguments.prometheus} does not answer: {error}\n{expression}", file=sys.stderr)
            return 2
        filled[title] = filled.get(title, False) or bool(values)
        shown = (
            f"{len(values):3} series, newest {min(values):.6g} to {max(values):.6g}"
            if values
            else "  - no data"
        )
        print(f"{title:30} {legend:45} {shown}")
    empty = [title for title, has_data in filled.items() if not has_data]
    print(f"\n{len(filled) - len(empty)} of {len(filled)} panels have data")
    if empty:
        print("without data:", ", ".join(empty))
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
