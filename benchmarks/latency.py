"""Event to recommendation through Kafka.

Latency at rates up to saturation, and the highest rate that is sustained.

An open-loop sender, the worker, and a receiver are processes of their own; latency counts from the
planned time of an event to the arrival of the first list that knows it. In turn with the worker, at
the same rates, an echo: a plain aiokafka loop that consumes and produces, the floor of this
machine. `stub` is the whole worker with a recommender that ranks nothing; `pprm` ranks the whole
bundled catalogue for shoppers with the histories of the bundled households.

A rate is sustained if the median latency of the run's last quarter is at most 250 ms, and within 50
ms of the first's; it has two tries. About six minutes, with --quick one. --broker apache:
PPRM_TEST_KAFKA says where it is.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import load, measure, shoppers, site
from benchmarks.load import Plan, Positions
from pprm.data.source import Source
from worker.demo import data, processes

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
GROWTH_MS = 50.0
"""By how much the latency may grow over a run that counts as sustained."""
LOADERS = 3
"""Processes: sender, receiver, echo."""
IMPORT_SECONDS = 2.0
LAG_MS = 250.0
"""How far behind it may be at the end."""
SETUP_SECONDS = 1.5
"""Before the first event: clients connect."""
GOALS_MS = {"stub at 10,000/s": 15.0, "PPRM at half of what it sustains": 30.0}
"""p99 on Apache Kafka."""
STUB_GOAL_RATE = 10_000


class Size(NamedTuple):
    """How much is measured."""

    rates: tuple[int, ...]
    """Of the stub and its echo, events per second."""
    pprm_from: int
    """Where the doubling of the rate begins that finds what PPRM sustains."""
    warm_up: float
    """Seconds of every run that do not count."""
    seconds: float
    half_seconds: float
    """Of the run of PPRM at half of what it sustains."""
    doublings: int
    """At most, to find a rate that is not sustained."""
    bisections: int
    users: int
    """Of the stub: their states begin empty."""
    households: int
    copies: int
    """Of each household, for PPRM."""


FULL = Size((100, 500, 1000, 2000, 5000, 10_000, 20_000), 50, 2.0, 6.0, 20.0, 6, 3, 20_000, 1000, 4)
QUICK = Size((500,), 25, 0.5, 1.0, 1.0, 0, 0, 500, 20, 1)


@dataclass
class Bench:
    """Topics under load and the processes that load them."""

    pool: Executor
    address: str
    purchases: str
    lists: str
    users: int
    products: list[str]
    size: Size
    is_echo: bool = False
    positions: dict[str, Positions] = field(default_factory=dict)
    runs: int = 0

    def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """Load with a rate for the warm-up and so many seconds.

        Returns the figures without the warm-up.
        """
        self.runs += 1
        begin = time.monotonic() + SETUP_SECONDS
        plan = Plan(rate, begin, self.size.warm_up + seconds, self.users, self.products, self.runs)
        sending = self.pool.submit(load.send, self.address, self.purchases, site.PARTITIONS, plan)
        receiving = self._follow(load.receive, plan, self.lists)
        if self.is_echo:
            echoing = self._follow(load.echo, plan, self.purchases, self.lists)
            self.positions[self.purchases] = echoing.result()
        received, self.positions[self.lists] = receiving.result()
        sent = sending.result()
        counts = sent.planned >= begin + self.size.warm_up
        late = (sent.handed_over - sent.planned)[counts] * 1e3
        return {
            **figures(load.latencies(sent, received)[counts] * 1e3, sent.planned[counts]),
            "rate": rate, "lists": len(received.user),
            "sender_late_p99_ms": float(np.percentile(late, 99)),
        }  # fmt: skip

    def _follow(self, what: Callable[..., Any], plan: Plan, *topics: str) -> Any:
        positions = self.positions.get(topics[0], {})
        return self.pool.submit(what, self.address, *topics, site.PARTITIONS, positions, plan)


def figures(latency: NDArray[np.float64], planned: NDArray[np.float64]) -> dict[str, Any]:
    """Report of a run: latency in ms, by planned time in seconds."""
    begin, end = planned[0], planned[-1]
    quarter = (end - begin) / 4
    first, last = (
        np.median(latency[part]) for part in (planned < begin + quarter, planned > end - quarter)
    )
    answered = latency[np.isfinite(latency)]
    shown = {name: percentile(latency, q) for name, q in PERCENTILES.items()}
    grown = float(last - first) if np.isfinite(first) and np.isfinite(last) else None
    sustained = (
        len(answered) == len(latency)
        and grown is not None
        and grown <= GROWTH_MS
        and last <= LAG_MS
    )
    return {
        **{f"{name}_ms": value for name, value in shown.items()},
        "events": len(latency), "unanswered": len(latency) - len(answered),
        "grown_ms": grown, "sustained": bool(sustained),
    }  # fmt: skip


def percentile(latency: NDArray[np.float64], q: float) -> float | None:
    """Return a percentile; None where too few events are above it or one has no answer."""
    if len(latency) * (100 - q) < 200:
        return None
    value = float(np.percentile(latency, q, method="higher"))
    return value if np.isfinite(value) else None


def ladder(bench: Bench, echo: Bench) -> dict[str, Any]:
    """The stub at every rate up to the first that it does not sustain, in turn with the echo.

    The rate that it sustains follows.
    """
    runs: list[dict[str, Any]] = []
    floor: list[dict[str, Any]] = []
    bench.run(bench.size.rates[0], 1.0)  # first connections, first tables: not what is asked for
    for rate in bench.size.rates:
        runs.append(attempt("stub", bench, rate))
        floor.append(announced("echo", echo.run(rate, bench.size.seconds)))
        if not runs[-1]["sustained"]:
            break
    return {"runs": runs, "echo": floor, "sustained_rate": sustained_rate("stub", bench, runs)}


def search(bench: Bench, echo: Bench) -> dict[str, Any]:
    """What PPRM sustains, by doubling and bisection.

    Then half of that, for longer, beside the echo.
    """
    bench.run(bench.size.pprm_from, 3.0)  # the first list waits for all tables to be made
    runs = [attempt("pprm", bench, bench.size.pprm_from)]
    best = sustained_rate("pprm", bench, runs)
    half, seconds = best / 2, bench.size.half_seconds
    return {
        "runs": runs, "sustained_rate": best,
        "at_half": announced("pprm", bench.run(half, seconds)) if half else None,
        "echo_at_half": announced("echo", echo.run(half, seconds)) if half else None,
    }  # fmt: skip


def sustained_rate(name: str, bench: Bench, runs: list[dict[str, Any]]) -> float:
    """The highest rate sustained: doubled or halved until one is and one is not, then bisected.

    0 where none was.
    """
    low, high = _bracket(runs)
    for _ in range(bench.size.doublings):
        if low and high:
            break
        runs.append(attempt(name, bench, low * 2 or high / 2))
        low, high = _bracket(runs)
    for _ in range(bench.size.bisections if low and high else 0):
        runs.append(attempt(name, bench, (low * high) ** 0.5))
        low, high = _bracket(runs)
    return low


def _bracket(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """The highest rate that was sustained and the lowest above that was not.

    0 where there is none.
    """
    low = max((run["rate"] for run in runs if run["sustained"]), default=0.0)
    return low, min(
        (run["rate"] for run in runs if not run["sustained"] and run["rate"] > low), default=0.0
    )


def attempt(name: str, bench: Bench, rate: float) -> dict[str, Any]:
    """Run at a rate.

    Once more where it was not sustained, for something else may have held the machine up.
    """
    run = announced(name, bench.run(rate, bench.size.seconds))
    return run if run["sustained"] else announced(name, bench.run(rate, bench.size.seconds))


def announced(name: str, run: dict[str, Any]) -> dict[str, Any]:
    """Say what a run came to, and return it."""
    p50, p99 = (f"{run[p]:.1f}" if run[p] is not None else "-" for p in ("p50_ms", "p99_ms"))
    state = "sustained" if run["sustained"] else "not sustained"
    measure.console.print(
        f"{name} at {run['rate']:,.0f}/s: p50 {p50} ms, p99 {p99} ms, {state}", style="dim"
    )
    return run


@contextmanager
def stub(pool: Executor, address: str, directory: Path, size: Size) -> Iterator[Bench]:
    """A worker that ranks nothing, its shoppers unknown to it."""
    flags = site.flags(address, "stub", directory)
    chosen = site.settings(flags)
    asyncio.run(site.create_topics(chosen))
    name = chosen.topics.name
    with site.worker(flags, directory / "stub.log", site.STUB) as worker:
        asyncio.run(processes.until_ready(worker))
        products = [f"product-{number}" for number in range(10_000)]
        yield Bench(
            pool, address, name("purchases"), name("recommendations"), size.users, products, size
        )


@contextmanager
def pprm(pool: Executor, address: str, directory: Path, size: Size) -> Iterator[Bench]:
    """A worker that ranks the whole catalogue, for shoppers with a history."""
    shop = data.load(Source(), size.households)
    flags = site.flags(address, "pprm", directory)
    chosen = site.settings(flags)
    asyncio.run(site.create_topics(chosen))
    name = chosen.topics.name
    asyncio.run(site.publish(chosen, name("products"), shoppers.product_rows(shop)))
    users = asyncio.run(
        site.publish(chosen, chosen.changelog, shoppers.state_rows(shop, size.copies))
    )
    with site.worker(flags, directory / "pprm.log") as worker:
        asyncio.run(processes.until_ready(worker))
        yield Bench(
            pool, address, name("purchases"), name("recommendations"), users, shop.universe, size
        )


def echo_of(bench: Bench, directory: Path, name: str) -> Bench:
    """The same load on topics that only the echo reads."""
    chosen = site.settings(site.flags(bench.address, name, directory))
    asyncio.run(site.create_topics(chosen))
    purchases, lists = map(chosen.topics.name, ("purchases", "recommendations"))
    return Bench(
        bench.pool,
        bench.address,
        purchases,
        lists,
        bench.users,
        bench.products,
        bench.size,
        is_echo=True,
    )


def report(broker: str, size: Size) -> dict[str, Any]:
    """Measure all on one broker."""
    spawned = get_context("spawn")
    with (
        TemporaryDirectory(prefix="pprm-latency-") as made,
        site.broker(broker, Path(made)) as address,
        ProcessPoolExecutor(LOADERS, mp_context=spawned) as pool,
    ):
        # until all of them are there
        wait([pool.submit(time.sleep, IMPORT_SECONDS) for _ in range(LOADERS)])
        directory = Path(made)
        with stub(pool, address, directory, size) as bench:
            ladder_ = ladder(bench, echo_of(bench, directory, "echo-stub"))
        with pprm(pool, address, directory, size) as bench:
            search_ = search(bench, echo_of(bench, directory, "echo-pprm"))
            search_ |= {"products": len(bench.products), "users": bench.users}
    at_goal = next(
        (run["p99_ms"] for run in ladder_["runs"] if run["rate"] == STUB_GOAL_RATE), None
    )
    at_half = search_["at_half"] and search_["at_half"]["p99_ms"]
    goals = {
        what: {"goal_ms": goal, "p99_ms": found}
        for (what, goal), found in zip(GOALS_MS.items(), (at_goal, at_half), strict=True)
    }
    return {
        "environment": measure.environment(broker=broker),
        "goals": goals,
        "stub": ladder_,
        "pprm": search_,
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures."""
    names = [f"{name}_ms" for name in PERCENTILES]
    rows = [("stub", run) for run in found["stub"]["runs"]] + [
        ("echo", run) for run in found["stub"]["echo"]
    ]
    rows += [("pprm", run) for run in found["pprm"]["runs"]]
    rows += [
        (name, found["pprm"][name]) for name in ("at_half", "echo_at_half") if found["pprm"][name]
    ]
    measure.show(
        "Event to recommendation, ms",
        ["", "events/s", *PERCENTILES, "grown by", "sustained"],
        [
            (
                name,
                f"{run['rate']:,.0f}",
                *(_ms(run[n]) for n in (*names, "grown_ms")),
                run["sustained"],
            )
            for name, run in rows
        ],
    )
    for name in ("stub", "pprm"):
        print(f"{name} sustains {found[name]['sustained_rate']:,.0f} events/s")
    for what, goal in found["goals"].items():
        print(
            f"{what}: p99 {_ms(goal['p99_ms'])} ms, on Apache Kafka at most {goal['goal_ms']:.0f}"
            f" are wanted"
        )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw latency against the rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    panels = (
        (
            axes[0],
            "stub scorer",
            {"worker": found["stub"]["runs"], "aiokafka echo": found["stub"]["echo"]},
        ),
        (
            axes[1],
            "PPRM, whole catalogue",
            {"worker": [*found["pprm"]["runs"], *filter(None, [found["pprm"]["at_half"]])]},
        ),
    )
    for (axis, title, contenders), kind in zip(panels, ("stub", "pprm"), strict=True):
        for (name, runs), colour in zip(contenders.items(), ("tab:blue", "tab:grey"), strict=False):
            ordered = sorted(
                (run for run in runs if run["p99_ms"] is not None), key=lambda run: run["rate"]
            )
            rates = [run["rate"] for run in ordered]
            axis.plot(
                rates, [run["p99_ms"] for run in ordered], "o-", color=colour, label=f"{name} p99"
            )
            axis.plot(
                rates,
                [run["p50_ms"] for run in ordered],
                "o--",
                color=colour,
                label=f"{name} p50",
                alpha=0.6,
            )
        if found[kind]["sustained_rate"]:
            axis.axvline(
                found[kind]["sustained_rate"],
                color="tab:red",
                linewidth=1,
                label="sustained at most",
            )
        axis.set(title=title, xlabel="events/s", xscale="log", yscale="log")
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_ylabel("event to recommendation, ms")
    figure.suptitle(f"{found['environment']['broker']} broker, {found['environment']['cpu']}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = measure.parser(__doc__, rounds=1)
    parser.add_argument("--broker", choices=["embedded", "apache"], default="embedded")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw latency against the rate, PNG"
    )
    options = parser.parse_args()
    found = report(options.broker, QUICK if options.quick else FULL)
    show(found)
    measure.write(options.report, found)
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
