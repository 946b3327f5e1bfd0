"""A long run with random faults: `python -m tests.faults.soak --minutes 10`.

The oracle judges at its end.

Two workers under a supervisor; every few seconds one of them is killed, stopped, suspended past its
session or loses its data directory, a third one joins and leaves, and on Apache Kafka the broker is
killed, too. 2 % of all that is fetched is thrown away on the way to the agents.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from math import ceil
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults import workload
from tests.faults.harness import open_shop, supervised, until_ready
from tests.faults.oracle.judge import judge, sizes
from tests.faults.oracle.read import reader
from tests.integration.brokers import ApacheKafka
from tests.integration.shop import PARTITIONS, Shop, Worker
from worker.kafka import embedded

USERS, PRODUCTS = 3000, 30
SESSION_SECONDS, SETTLE_SECONDS = 6, 180
LOSSY = ["drop=0.02"]

Current = Callable[[], Worker]


async def kill(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    worker().kill()


async def stop(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    worker().process.terminate()


async def suspend(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    suspended = worker()
    suspended.signal(signal.SIGSTOP)
    await asyncio.sleep(2 * SESSION_SECONDS)
    suspended.signal(signal.SIGCONT)


async def wipe(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    gone = worker()
    gone.kill()
    shutil.rmtree(shop.directory / gone.log.stem, ignore_errors=True)


async def join_and_leave(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    third = shop.start_worker("third", LOSSY)
    await asyncio.sleep(random.uniform(4, 10))
    third.process.terminate()
    await asyncio.to_thread(third.process.wait)


async def kill_broker(shop: Shop, worker: Current, kafka: ApacheKafka | None) -> None:
    if kafka:
        kafka.kill()
        await asyncio.sleep(random.uniform(0, 10))
        await asyncio.to_thread(kafka.start)


FAULTS: list[Callable[[Shop, Current, ApacheKafka | None], Awaitable[None]]] = [
    kill, kill, stop, suspend, wipe, join_and_leave, kill_broker,
]  # fmt: skip


async def feed(shop: Shop, events: int, minutes: float, progress: Progress) -> None:
    """Publish all events, spread over the minutes."""
    task = progress.add_task("events", total=events)
    await workload.feed(
        shop.broker, f"{shop.name}-", users=USERS, products=PRODUCTS, events=events,
        per_second=ceil(events / minutes / 60), seed=1, idempotent=shop.is_apache,
        held=lambda count: progress.advance(task, count),
    )  # fmt: skip


async def soak(
    shop: Shop, kafka: ApacheKafka | None, options: argparse.Namespace, progress: Progress
) -> bool:
    rng, done = random.Random(options.seed), Counter[str]()
    await open_shop(shop)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(supervised(shop, name, sabotage=LOSSY))
            for name in ("a", "b")
        ]
        await until_ready(workers[0]())
        feeding = asyncio.create_task(feed(shop, options.events, options.minutes, progress))
        while not feeding.done():
            await asyncio.sleep(rng.uniform(3, 12))
            fault = rng.choice(FAULTS)
            progress.console.print(f"{time.strftime('%H:%M:%S')} {fault.__name__}")
            await fault(shop, rng.choice(workers), kafka)
            done[fault.__name__] += 1
        await feeding
        progress.console.print(
            "all events are published; waiting until the oracle finds nothing missing"
        )
        return await verdict(shop, options, done, progress)


async def verdict(
    shop: Shop, options: argparse.Namespace, faults: Counter[str], progress: Progress
) -> bool:
    exactly_once, deadline = options.delivery == "exactly_once", time.monotonic() + SETTLE_SECONDS
    async with reader(shop.broker, shop.name, f"{shop.name}-", PARTITIONS) as topics:
        while True:
            report = judge(await topics.read_on())
            if report.clean(exactly_once) or time.monotonic() > deadline:
                break
            await asyncio.sleep(5)
        fields = {
            "faults": faults,
            "totals": sizes(topics.log),
            "counts": report.counts,
            "examples": report.examples,
        }
    progress.console.print_json(json.dumps(fields))
    if options.report:
        options.report.write_text(json.dumps(fields, indent=1) + "\n")
    return report.clean(exactly_once)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=20, help="over which the events are spread"
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument(
        "--on",
        choices=["embedded", "apache"],
        default="apache" if os.environ.get("PPRM_TEST_KAFKA") else "embedded",
    )
    parser.add_argument(
        "--delivery", choices=["at_least_once", "exactly_once"], default="at_least_once"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the verdict as JSON")
    options = parser.parse_args()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    with Progress(*columns) as progress:
        clean = _on_broker(directory, options, progress)
    if not clean:
        sys.exit(f"not clean: logs, states and the broker's data are in {directory}")
    shutil.rmtree(directory)


def _on_broker(directory: Path, options: argparse.Namespace, progress: Progress) -> bool:
    extra = {"PPRM_DELIVERY": options.delivery}
    if options.on == "embedded":
        with embedded.broker() as address:
            shop = Shop(address, "soak", directory, extra)
            return _run(shop, None, options, progress)
    kafka = ApacheKafka(directory, embedded.free_port(2))
    try:
        kafka.start()
        return _run(
            Shop(kafka.address, "soak", directory, extra, is_apache=True), kafka, options, progress
        )
    finally:
        kafka.stop()


def _run(
    shop: Shop, kafka: ApacheKafka | None, options: argparse.Namespace, progress: Progress
) -> bool:
    try:
        return asyncio.run(soak(shop, kafka, options, progress))
    finally:
        shop.stop()


if __name__ == "__main__":
    main()
