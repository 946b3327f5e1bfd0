"""`python -m tests.faults.oracle`: judge what is in the topics of a worker.

Exit code 0 where all is well.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.oracle.judge import CLASSES, Report, Rules, judge, sizes
from tests.faults.oracle.read import reader


async def run(options: argparse.Namespace) -> bool:
    started = time.monotonic()
    set_so = Rules(options.refresh_seconds, options.session_seconds)
    rules = set_so if set_so.period else None
    deadline = started + options.wait
    async with reader(options.broker, options.app_id, options.prefix, options.partitions) as topics:
        while True:
            report = judge(await topics.read_on(), rules)
            if report.clean(options.exactly_once) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(1.0)
    tell(report, {**sizes(topics.log), "seconds": round(time.monotonic() - started, 1)}, options)
    return report.clean(options.exactly_once)


def tell(report: Report, totals: dict[str, float], options: argparse.Namespace) -> None:
    table = Table(title=", ".join(f"{count} {name}" for name, count in totals.items()))
    table.add_column("class")
    table.add_column("count", justify="right")
    table.add_column("meaning")
    for name, meaning in CLASSES.items():
        table.add_row(name, str(report.counts[name]), meaning)
    Console(width=120).print(table)
    if options.report:
        fields = {
            **{name: report.counts[name] for name in CLASSES},
            "totals": totals,
            "examples": report.examples,
        }
        options.report.write_text(json.dumps(fields, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--app-id", required=True, help="consumer group of the worker")
    parser.add_argument("--prefix", default="", help="of the topics' names")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--exactly-once", action="store_true", help="tolerate no repeated list")
    parser.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="look again until all is well"
    )
    parser.add_argument(
        "--refresh-seconds", type=int, default=0, help="after which a list is old; 0: never"
    )
    parser.add_argument("--session-seconds", type=int, default=1800, help="of a visit's rest")
    parser.add_argument("--report", type=Path, help="write the counts as JSON")
    sys.exit(0 if asyncio.run(run(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
