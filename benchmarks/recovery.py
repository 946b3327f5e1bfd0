"""Recovery of a wiped worker.

Seconds per million changelog records, beside plain Faust reading the same records.

The whole worker (with a recommender that ranks nothing) and an ordinary Faust app with a RocksDB
table of raw bytes recover the same changelog, in turn, each into an empty directory. Counted is
from the assignment of the partitions until the worker takes events: for ours that includes counting
the popularity of products from the states.

About six minutes for a million shoppers; with --quick, 20,000 in less than one. --broker apache:
PPRM_TEST_KAFKA says where it is.
"""

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import measure, site
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from worker.demo import processes
from worker.runtime.delivery import Row

USERS, QUICK_USERS = 1_000_000, 20_000
DISTINCT = 2000
"""States that differ; shoppers beyond them have copies."""
PRODUCTS = 10_000
MEDIAN_PURCHASES, SPREAD = 12.0, 1.0
"""Of a shopper: log-normal."""
NOW = 1_512_000_000
AT_MOST_SECONDS = 1200.0
KINDS = ("table_seconds", "recovery_seconds")
"""From the assignment until the table is restored, and until events are taken."""
GOAL = 10.0
"""Times as fast as plain Faust."""


def states() -> list[bytes]:
    """States of shoppers with few or many purchases."""
    rng = np.random.default_rng(1)
    hashes = np.array([stable_hash(f"product-{number}") for number in range(PRODUCTS)], np.uint64)
    counts = np.maximum(rng.lognormal(np.log(MEDIAN_PURCHASES), SPREAD, DISTINCT).astype(int), 1)
    return [user_state.encode(_state(rng, hashes, count)) for count in counts.tolist()]


def _state(rng: np.random.Generator, hashes: Any, count: int) -> UserState:
    products = hashes[(PRODUCTS * rng.random(count) ** 2).astype(int)].tolist()
    times = np.sort(rng.integers(NOW - 300 * 86_400, NOW, count)).tolist()
    bought = [
        Interaction(Position(0, 0, n), Kind.PURCHASE, products[n], times[n]) for n in range(count)
    ]
    return fold(UserState(), bought).state


def rows(users: int) -> Iterator[Row]:
    """A changelog: the state of every shopper, once."""
    rng, known = random.Random(1), states()
    return (Row(f"user-{number}".encode(), rng.choice(known)) for number in range(users))


def ours(flags: dict[str, Any], directory: Path) -> dict[str, float]:
    """Recover with the worker; returns seconds."""
    begun, log = time.monotonic(), directory / "ours.log"
    with site.worker(flags, log, site.STUB) as worker:
        asyncio.run(processes.until_ready(worker, AT_MOST_SECONDS))
        ready = time.monotonic() - begun
        table = asyncio.run(processes.metric(worker, "pprm_recovery_duration_seconds_sum"))
    shutil.rmtree(flags["state"]["directory"])
    logged = re.search(r'"recovery_seconds": ([\d.]+)', log.read_text())
    assert logged, worker.last_lines()
    return {"recovery_seconds": float(logged[1]), "table_seconds": table, "ready_seconds": ready}


def plain(flags: dict[str, Any], directory: Path) -> dict[str, float]:
    """Recover with plain Faust; returns seconds."""
    chosen, result = site.settings(flags), directory / "plain.json"
    job = {
        "app_id": chosen.app_id, "broker": chosen.kafka.bootstrap_servers,
        "topic": chosen.topics.name("purchases"),
        "directory": str(directory / "plain"), "partitions": chosen.topics.partitions,
        "report": str(result),
    }  # fmt: skip
    with (directory / "plain.log").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.plain_table", json.dumps(job)]
        subprocess.run(command, stdout=log, stderr=log, check=False, timeout=AT_MOST_SECONDS)
    found: dict[str, float] = json.loads(result.read_text())
    result.unlink()
    shutil.rmtree(directory / "plain")
    return found


def report(broker: str, users: int, rounds: int) -> dict[str, Any]:
    """Measure on one broker."""
    with (
        TemporaryDirectory(prefix="pprm-recovery-") as made,
        site.broker(broker, Path(made)) as address,
    ):
        directory = Path(made)
        flags = site.flags(address, "recovery", directory)
        chosen = site.settings(flags)
        asyncio.run(site.create_topics(chosen))
        begun, size = time.monotonic(), 0

        def counted() -> Iterator[Row]:
            nonlocal size
            for row in rows(users):
                size += len(row.key or b"") + len(row.value or b"")
                yield row

        asyncio.run(site.publish(chosen, chosen.changelog, counted()))
        measure.console.print(
            f"{users:,} states, {size:,} bytes, written in {time.monotonic() - begun:.0f} s"
        )
        taken = measure.in_turn(
            {
                "worker": lambda: ours(flags, directory),
                "plain Faust": lambda: plain(flags, directory),
            },
            rounds,
        )
    per_million = {
        name: {kind: [run[kind] * 1e6 / users for run in runs] for kind in KINDS}
        for name, runs in taken.items()
    }
    return {
        "environment": measure.environment(broker=broker), "users": users, "bytes": size,
        "runs": taken,
        "seconds_per_million": per_million, "goal": GOAL,
        "ratio": _ratio(per_million, "recovery_seconds"),
        "ratio_of_the_table": _ratio(per_million, "table_seconds"),
    }  # fmt: skip


def _ratio(per_million: dict[str, dict[str, list[float]]], kind: str) -> float:
    """How often plain Faust's time is ours, by medians."""
    theirs, ours_ = (measure.median(per_million[name][kind]) for name in ("plain Faust", "worker"))
    return theirs / ours_


def show(found: dict[str, Any]) -> None:
    """Print the figures."""
    measure.show(
        f"Recovery of {found['users']:,} shoppers, {found['bytes'] / 1e6:,.0f} MB of changelog;"
        f" seconds per million",
        ["", "table", "until it takes events", "lowest - highest", "start to ready, s"],
        [
            (name, measure.median(taken["table_seconds"]),
            measure.median(taken["recovery_seconds"]),
             measure.spread(taken["recovery_seconds"]),
             measure.median([run["ready_seconds"] for run in found["runs"][name]]))
            for name, taken in found["seconds_per_million"].items()
        ],
    )  # fmt: skip
    print(
        f"{found['ratio']:.1f} times as fast as plain Faust; the table alone"
        f" {found['ratio_of_the_table']:.1f} times"
    )


def main() -> None:
    parser = measure.parser(__doc__, rounds=2)
    parser.add_argument("--users", type=int, help="shoppers; a million, or 20,000 with --quick")
    parser.add_argument("--broker", choices=["embedded", "apache"], default="embedded")
    options = parser.parse_args()
    users = options.users or (QUICK_USERS if options.quick else USERS)
    found = report(options.broker, users, 1 if options.quick else options.rounds)
    show(found)
    measure.write(options.report, found)


if __name__ == "__main__":
    main()
