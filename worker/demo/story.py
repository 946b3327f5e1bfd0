"""The story of the demo, step by step: broker, topics, worker, backfill, first lists, replay."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from pprm.datasets.dataset import Dataset
from worker import embedded, settings, topics
from worker.demo import data, households, kafka, prequential, processes, records
from worker.demo.households import Visit
from worker.demo.lists import Position
from worker.demo.processes import Worker
from worker.demo.progress import Progress, Step
from worker.demo.replay import replay
from worker.settings import Settings, client_settings

PARTITIONS = 4
METRICS_PORT = 9464
CHUNK = 50
"""Households whose backfill is encoded and sent at once."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen."""

    households: int | None = 300
    """None: all."""
    events: int | None = None
    """Replayed events; None: all of November and December."""
    rate: float | None = None
    """Replayed events per second; None: as fast as the lists come."""
    broker: str | None = None
    """host:port; None: the embedded one."""
    ui: bool = True
    report: Path | None = None


@dataclass(slots=True)
class Stage:
    """What every act needs."""

    options: DemoOptions
    settings: Settings
    worker: Worker
    publisher: kafka.Publisher
    progress: Progress
    dataset: Dataset = field(init=False)
    history: dict[str, list[Visit]] = field(init=False)

    def topic(self, family: str) -> str:
        """Name of a topic."""
        return self.settings.topics.name(family)


async def tell(options: DemoOptions, progress: Progress, command: Sequence[str] = processes.COMMAND) -> None:
    """Tell the whole story; `progress` holds what came of it, also when this is cancelled or raises.

    Raises:
        WorkerError, NoListError, EmbeddedBrokerError: the story cannot go on; alone or in an exception group.
    """
    with _broker(options, progress) as broker, TemporaryDirectory(prefix="pprm-demo-") as directory:
        flags = _flags(broker, Path(directory), options)
        chosen = settings.load(flags)
        progress.prefix, progress.metrics_url = chosen.topics.prefix, f"http://127.0.0.1:{chosen.http.port}/metrics"
        with progress.step("topics"):
            await topics.create(client_settings(chosen.kafka), topics.plan(chosen))
        with processes.worker(flags, Path(directory) / "worker.log", list(command)) as worker:
            async with _alongside(processes.watch(worker)), _connected(chosen, progress) as publisher:
                stage = Stage(options, chosen, worker, publisher, progress)
                await asyncio.gather(_worker_ready(stage), _publish_the_past(stage))
                await _first_lists(stage)
                await _replay(stage)


@contextmanager
def _broker(options: DemoOptions, progress: Progress) -> Iterator[str]:
    if options.broker:
        progress.broker, progress.embedded = options.broker, False
        yield options.broker
        return
    with embedded.broker() as address:
        progress.broker = address
        with progress.step("embedded broker") as step:
            step.detail = f"{address}, in memory"
        yield address


def _flags(broker: str, directory: Path, options: DemoOptions) -> dict[str, Any]:
    """Settings of the worker, unique where a broker is shared with others."""
    token = secrets.token_hex(3)
    return {
        "app_id": f"demo-{token}",
        "kafka": {"bootstrap_servers": broker, "session_timeout_seconds": 6},
        "topics": {"prefix": f"demo-{token}-" if options.broker else "", "partitions": PARTITIONS},
        "state": {"directory": directory / "state"},
        "recommendations": {"score_from": records.timestamp(data.BEGIN)},
        "http": {"port": processes.free_port(METRICS_PORT)},
        "log": {"format": "json"},
    }


@asynccontextmanager
async def _alongside(*background: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines beside the body; the first one to fail ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in background]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _connected(chosen: Settings, progress: Progress) -> AsyncIterator[kafka.Publisher]:
    """Listen to lists and dead letters from before the first publication on."""
    client = client_settings(chosen.kafka)
    lists, letters = chosen.topics.name("recommendations"), chosen.topics.name("dead_letters")

    def on_list(message: Mapping[str, Any], at: float) -> None:
        if progress.seconds_to_first is None:
            progress.seconds_to_first = processes.seconds_since_start()
        progress.lists.receive(message, at)

    def on_dead_letter(_: Any) -> None:
        progress.dead_letters += 1

    async with (
        kafka.reader(client, [lists, letters], PARTITIONS) as reader,
        kafka.publisher(client, PARTITIONS) as publisher,
        _alongside(kafka.listen(reader, lists, on_list, on_dead_letter)),
    ):
        yield publisher


async def _worker_ready(stage: Stage) -> None:
    with stage.progress.step("worker ready") as step:
        await processes.until_ready(stage.worker)
        step.detail = stage.progress.metrics_url


async def _publish_the_past(stage: Stage) -> None:
    """Read the data, publish products, then purchases before November."""
    progress = stage.progress
    with progress.step("data") as step:
        stage.dataset, stage.history = await asyncio.to_thread(data.load, stage.options.households)
        progress.households = len(stage.history)
        progress.titles = {product.product_id: product.title for product in stage.dataset.products}
        step.detail = f"{progress.households:,} households of The Complete Journey"
    with progress.step("catalogue") as step:
        products = [product._asdict() for product in stage.dataset.products]
        await stage.publisher.send(stage.topic("products"), records.product_rows(products))
        step.detail = f"{len(products):,} products, {sum(p['available'] for p in products):,} of them candidates"
    with progress.step("backfill until October") as step:
        await _backfill(stage, step)


async def _backfill(stage: Stage, step: Step) -> None:
    """Household by household, so that the worker writes each one's state a few times, not thousands of times."""
    names = list(stage.history)
    for begin in range(0, len(names), CHUNK):
        past = [
            visit for name in names[begin : begin + CHUNK] for visit in stage.history[name] if visit.time < data.BEGIN
        ]
        rows = list(chain.from_iterable(map(records.visit_rows, past)))
        await stage.publisher.send(stage.topic("purchases"), rows)
        stage.progress.backfill_events += len(rows)
        step.detail = f"{stage.progress.backfill_events:,} purchases"


async def _first_lists(stage: Stage) -> None:
    """Wait until the past is folded, then publish the profiles: they are events, so each household gets a list."""
    progress, names = stage.progress, list(stage.history)
    with progress.step("backfill folded") as step:
        while (
            folded := _consumed(stage, await asyncio.to_thread(stage.worker.get, "/metrics"))
        ) < progress.backfill_events:
            step.detail = f"{folded:,} of {progress.backfill_events:,}"
            await asyncio.sleep(0.1)
        step.detail = f"{folded:,} purchases"
    with progress.step("first lists") as step:
        profiles = stage.dataset.profiles
        rows = [records.user_row(name, profiles.get(name, {}), data.BEGIN) for name in names]
        await stage.publisher.send(stage.topic("users"), rows)
        await asyncio.gather(*map(progress.lists.answer, names))
        step.detail = f"{len(names):,} households"


def _consumed(stage: Stage, metrics: str | None) -> int:
    """Purchases taken so far: micro-batches follow one another, so an event published now finds them folded."""
    sample = rf'^pprm_events_consumed_total{{topic="{re.escape(stage.topic("purchases"))}"}} (\S+)$'
    found = re.search(sample, metrics or "", re.MULTILINE)
    return int(float(found[1])) if found else 0


async def _replay(stage: Stage) -> None:
    progress, options = stage.progress, stage.options
    visits = households.cut(households.replay_order(stage.history, data.BEGIN, data.END), options.events)
    candidates = data.universe(stage.dataset)
    judge = _Judge(progress, frozenset(candidates), prequential.baselines(candidates, stage.history))
    progress.planned, progress.replay_began = sum(len(visit.products) for visit in visits), perf_counter()
    try:
        await replay(visits, lambda visit: _answer(stage, judge, visit), options.rate)
    finally:
        progress.replay_ended = perf_counter()


@dataclass(frozen=True, slots=True)
class _Judge:
    progress: Progress
    candidates: frozenset[str]
    baselines: prequential.Baselines

    def judge(self, visit: Visit) -> None:
        """Compare a basket with the newest list; not where browsing is simulated, nor where nothing could be listed."""
        truth = self.candidates.intersection(visit.products)
        if truth and visit.family == "purchases" and not households.browses(visit.household):
            listed = self.progress.lists.newest[visit.household]
            self.progress.scores.add(truth, listed.products, self.baselines.at(visit.household, visit.time))


async def _answer(stage: Stage, judge: _Judge, visit: Visit) -> None:
    """Judge a visit by the list before it, publish it, and wait for the list after it."""
    progress, topic = stage.progress, stage.topic(visit.family)
    before = progress.lists.newest[visit.household]
    judge.judge(visit)
    progress.date = visit.time
    progress.lists.sent(visit.household, perf_counter())
    ((partition, offset),) = (await stage.publisher.send(topic, records.visit_rows(visit))).items()
    progress.events += len(visit.products)
    after = await progress.lists.answer(visit.household, Position(topic, partition, offset))
    progress.show(visit, before, after)
