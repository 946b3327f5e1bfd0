"""Seconds from the start of the worker's process until it is ready, and of each step.

Its data is in place.

The whole worker with the bundled model, the whole catalogue published, shoppers with the histories
of the bundled households in its tables. The first start, which makes the tables, does not count.
Every start ends with SIGTERM.

About two minutes, with --quick half of one. --broker apache: PPRM_TEST_KAFKA says where it is.
"""

import asyncio
import re
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import measure, shoppers, site
from pprm.data.source import Source
from worker.demo import data

HOUSEHOLDS, QUICK_HOUSEHOLDS = 1000, 20
AT_MOST_SECONDS = 120.0
LOOK_SECONDS = 0.02
MARKS = {
    "imported": "serving metrics and health",
    "model loaded": "model loaded",
    "partitions assigned, tables read": "partitions assigned",
    "catalogue read": "catalogue read",
}
"""What had happened, and the line of the log that says so."""


def start(flags: dict[str, Any], log: Path) -> dict[str, float]:
    """Start a worker and stop it when it is ready.

    Returns the seconds after which each mark was reached.
    """
    begun, since = time.time(), time.monotonic()
    with site.worker(flags, log) as worker:
        while worker.get("/ready") is None:
            if time.monotonic() > since + AT_MOST_SECONDS or worker.process.poll() is not None:
                raise SystemExit(
                    f"the worker did not become ready; its log ends:\n{worker.last_lines()}"
                )
            time.sleep(LOOK_SECONDS)
        ready = time.monotonic() - since
    return {
        **{mark: reached(log.read_text(), event) - begun for mark, event in MARKS.items()},
        "ready": ready,
    }


def reached(log: str, event: str) -> float:
    """When a log says that something happened, Unix seconds."""
    logged = re.search(rf'"event": "{event}".*?"timestamp": "([^"]+)"', log)
    assert logged, f"the log does not say {event!r}:\n{log}"
    return datetime.fromisoformat(logged[1]).timestamp()


def report(broker: str, households: int, rounds: int) -> dict[str, Any]:
    """Measure on one broker."""
    with (
        TemporaryDirectory(prefix="pprm-start-") as made,
        site.broker(broker, Path(made)) as address,
    ):
        directory = Path(made)
        flags = site.flags(address, "start", directory)
        chosen, shop = site.settings(flags), data.load(Source(), households)
        asyncio.run(site.create_topics(chosen))
        products = asyncio.run(
            site.publish(chosen, chosen.topics.name("products"), shoppers.product_rows(shop))
        )
        asyncio.run(site.publish(chosen, chosen.changelog, shoppers.state_rows(shop, 1)))
        start(flags, directory / "first.log")
        taken = measure.in_turn({"start": lambda: start(flags, directory / "worker.log")}, rounds)[
            "start"
        ]
    seconds = {mark: [run[mark] for run in taken] for mark in (*MARKS, "ready")}
    return {
        "environment": measure.environment(broker=broker), "products": products,
        "shoppers": households,
        "seconds": seconds,
        "median_seconds": {mark: measure.median(values) for mark, values in seconds.items()},
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print the figures."""
    measure.show(
        f"Seconds after the start of the process ({found['products']:,} products,"
        f" {found['shoppers']:,} shoppers)",
        ["", "median", "lowest - highest"],
        [
            (mark, found["median_seconds"][mark], measure.spread(values))
            for mark, values in found["seconds"].items()
        ],
    )


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--broker", choices=["embedded", "apache"], default="embedded")
    options = parser.parse_args()
    households, rounds = (QUICK_HOUSEHOLDS, 1) if options.quick else (HOUSEHOLDS, options.rounds)
    found = report(options.broker, households, rounds)
    show(found)
    measure.write(options.report, found)


if __name__ == "__main__":
    main()
