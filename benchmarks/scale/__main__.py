"""Cost per event and memory, as users, history, workers, partitions and time grow.

--quick takes half a minute on two cores. The whole takes about 11 minutes, 3.5 of them for the long
run, which ends
after 10 million events or that time, whichever comes first. It needs 4 GB of memory and 10 GB of
disk. With PPRM_TEST_KAFKA (a folder with `run DIR PORT`) the workers run on Apache Kafka, else on
the embedded broker, which keeps everything in memory: there the long run ends after 500,000 events.

(a) users and (b) history go through the worker's own decode, fold, codec and RocksDB table in one
process, without a broker and without scoring, but where a column says otherwise; `all` is the sum
of the stages, `cpu` adds RocksDB's own threads, `wall` is what passed. (c) workers, partitions and
the long run are real worker processes with a stub scorer. Other loads on the machine show: compare
figures of one report only.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.measure import console, median, show
from benchmarks.processes import MIB, alone
from benchmarks.scale import growth, partitions, state, store, workers
from pprm.data.source import BUNDLED


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    users: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    history: tuple[int, ...] = (10, 100, 1_000, 10_000)
    rank: bool = True
    catalogue: tuple[int, ...] = (10_000, 30_000, 100_000)
    households: int | None = None
    pairs: tuple[tuple[int, int], ...] = ((1, 1), (1, 8), (1, 64), (2, 8), (4, 8))
    """Workers, and partitions that they share."""
    events: int = 60_000
    """Of each pair."""
    full: tuple[int, ...] = (1, 4, 8)
    known: tuple[int, ...] = (1, 16, 64)
    today: int = 1_000_000
    long_events: int = 10_000_000
    long_seconds: float = 210
    long_users: int = 100_000


QUICK = Size(
    (500,), (10, 50), False, (500,), 20, ((1, 1),), 2000, (1,), (1,), 20_000, 5000, 10, 1000
)
EMBEDDED_EVENTS = 500_000
"""Of the long run, where the broker keeps all in memory."""


def run(size: Size, rounds: int) -> dict[str, Any]:
    """Measure all; the sections of the report."""
    show = console.print
    show("(a) users", style="dim")
    users = [alone(growth.users, number, rounds) for number in size.users]
    show("(b) history per user", style="dim")
    history = alone(growth.history, size.history, 200, rounds, size.rank)
    show("catalogue", style="dim")
    catalogue = [alone(growth.catalogue, products) for products in size.catalogue]
    show("bytes of a state", style="dim")
    bytes_ = alone(state.measure, size.households)
    show("popularity and caches", style="dim")
    known = [alone(partitions.popularity, count) for count in size.known]
    today = alone(partitions.today, size.today)
    full = [alone(partitions.full, count) for count in size.full]
    with workers.broker() as address:
        show(f"(c) workers and partitions, on {workers.broker_name()}", style="dim")
        observed = _observe(address, size, min(rounds, 2))
        show("the long run", style="dim")
        events = (
            size.long_events if workers.has_apache() else min(size.long_events, EMBEDDED_EVENTS)
        )
        long = workers.long(address, events, size.long_seconds, size.long_users)
    alone_ = [found for found in observed if found["workers"] == 1]
    paper = partitions.paper(alone_, full, known[-1]) if len(alone_) > 1 else []
    return {
        "users": users, "history": history, "catalogue": catalogue, "state": bytes_,
        "workers": observed, "full": full,
        "popularity": known, "today": today, "paper": paper, "long": long | flatness(long["curve"]),
    }  # fmt: skip


def _observe(address: str, size: Size, rounds: int) -> list[dict[str, Any]]:
    """Medians of the rounds, per pair of workers and partitions."""
    contenders = {
        f"{workers_} workers, {count} partitions": partial(
            workers.observe, address, workers_, count, size.events
        )
        for workers_, count in size.pairs
    }
    taken = measure.in_turn(contenders, rounds)
    return [
        {
            name: median([round_[name] for round_ in found])
            for name in found[0]
            if name != "cpu_shares"
        }
        | {"cpu_shares": [round_["cpu_shares"] for round_ in found]}
        for found in taken.values()
    ]


def flatness(curve: Mapping[str, list[float]]) -> dict[str, float]:
    """Return resident bytes after a tenth and at the end, and their slope per million events.

    The slope is that of the second half.
    """
    events, resident = np.array(curve["events"]), np.array(curve["resident"])
    late = events >= events[-1] / 2
    slope = (
        np.polyfit(events[late], resident[late], 1)[0]
        if late.sum() > 1 and np.ptp(events[late])
        else 0.0
    )
    early = resident[np.searchsorted(events, events[-1] / 10)]
    return {
        "early_bytes": float(early),
        "end_bytes": float(resident[-1]),
        "bytes_per_million_events": float(slope * 1e6),
    }


def render(report: Mapping[str, Any]) -> None:
    """Print the tables."""
    stages = (*store.STAGES, "all", "cpu", "wall")
    show(
        "(a) CPU µs per event without broker and scoring, as users grow (10 purchases each, none"
        " twice in a batch)",
        ("users", *stages, "resident MiB", "disk MiB"),
        [(f"{r['users']:,}", *(r["us_per_event"][s] for s in stages), r["resident_bytes"] / MIB,
        r["disk_bytes"] / MIB)
         for r in report["users"]],
    )  # fmt: skip
    show(
        "(b) the same and CPU ms per list, as history grows, all products different: the state"
        " grows to its bound",
        ("purchases", *stages, "state bytes", "ms per list"),
        [(f"{r['purchases']:,}", *(r["us_per_event"][s] for s in stages), f"{r['state_bytes']:,}",
          r["ms_per_list"] or "-") for r in report["history"]],
    )  # fmt: skip
    show(
        "Model and catalogue: one list for a shopper of 100 purchases, one CPU thread",
        ("products", "CPU ms per list", "MiB without products", "MiB"),
        [(f"{r['products']:,}", r["ms_per_list"], r["before_bytes"] / MIB,
        r["resident_bytes"] / MIB)
         for r in report["catalogue"]],
    )  # fmt: skip
    state.render(BUNDLED, report["state"])
    show(
        "(c) real workers and the partitions they share, stub scorer",
        ("workers", "partitions", "events/s", "CPU µs/event", "idle cores", "ready s", "MiB",
        "files", "threads"),
        [(r["workers"], r["partitions"], r["events_per_second"], r["cpu_us_per_event"],
        r["idle_cores"],
          r["ready_seconds"], r["resident_bytes"] / MIB, r["open_files"],
          r["threads"]) for r in report["workers"]],
    )  # fmt: skip
    _render_partitions(report)
    long = report["long"]
    show(
        "The long run: one worker, 4 partitions, stub scorer",
        ("events", "seconds", "users", "MiB after a tenth", "at the end",
        "MiB per million events, 2nd half",
         "of these the day's purchases, computed"),
        [(f"{long['events']:,}", long["seconds"], f"{long['users']:,}", long["early_bytes"] / MIB,
          long["end_bytes"] / MIB, long["bytes_per_million_events"] / MIB,
          report["today"]["bytes_per_purchase"] * 1e6 / MIB)],
    )  # fmt: skip


def _render_partitions(report: Mapping[str, Any]) -> None:
    show(
        "Popularity snapshots of other workers (12,000 products each)",
        ("partitions", "MiB", "ms per snapshot"),
        [
            (r["partitions"], r["resident_bytes"] / MIB, r["ms_per_snapshot"])
            for r in report["popularity"]
        ],
    )
    today = report["today"]
    show(
        "Purchases of the current day", ("purchases", "bytes each", "seconds at midnight"),
        [(f"{today['purchases']:,}", today["bytes_per_purchase"], today["midnight_seconds"])],
    )  # fmt: skip
    show(
        "On paper: one worker with so many partitions (straight lines through what was measured)",
        ("partitions = RocksDBs", "files", "MiB idle", "MiB full", "caches", "fetches",
        "popularity", "idle cores",
         "ready s"),
        [(r["partitions"], r["open_files"], r["idle_bytes"] / MIB, r["full_bytes"] / MIB,
        r["cache_bytes"] / MIB,
          r["fetch_bytes"] / MIB, r["popularity_bytes"] / MIB, r["idle_cores"], r["ready_seconds"])
         for r in report["paper"]],
    )  # fmt: skip


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw cost against users and history, and memory over the long run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (users, history, memory) = pyplot.subplots(
        1, 3, figsize=(15, 4.2), layout="constrained"
    )
    for axes, rows, name in (
        (users, report["users"], "users"),
        (history, report["history"], "purchases"),
    ):
        at, bottom = np.arange(len(rows)), np.zeros(len(rows))
        for stage in store.STAGES:
            height = np.array([row["us_per_event"][stage] for row in rows])
            axes.bar(at, height, bottom=bottom, label=stage)
            bottom += height
        axes.set_xticks(at, [f"{row[name]:,}" for row in rows])
        axes.set_xlabel("users" if name == "users" else "purchases per user, all different")
        axes.set_ylabel("CPU µs per event, no broker, no scoring")
        axes.legend(reverse=True, frameon=False)
    curve = report["long"]["curve"]
    memory.plot(
        np.array(curve["events"]) / 1e6, np.array(curve["resident"]) / MIB, label="resident memory"
    )
    memory.plot(
        np.array(curve["events"]) / 1e6, np.array(curve["disk"]) / MIB, label="state on disk"
    )
    memory.set_xlabel("million events, one worker")
    memory.set_ylabel("MiB")
    memory.set_ylim(0)
    memory.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = measure.parser(__doc__, rounds=5)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves as a PNG")
    options = parser.parse_args()
    # what it says of topics just made is no news
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    sections = run(QUICK if options.quick else Size(), 1 if options.quick else options.rounds)
    report = {"environment": measure.environment(broker=workers.broker_name()), **sections}
    render(report)
    measure.write(options.report, report)
    if options.plot:
        plot(report, options.plot)


if __name__ == "__main__":
    main()
