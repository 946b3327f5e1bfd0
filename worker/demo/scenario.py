"""The scenario of the demo.

Broker, topics and worker come first, then the past (`backfill`), then the replay (`replay_run`).
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pprm.data.source import BUNDLED
from worker import settings
from worker.demo import backfill, data, kafka, processes, replay_run, wire_rows
from worker.demo.context import DemoContext, DemoOptions
from worker.demo.demo_progress import DemoProgress
from worker.kafka import embedded, topics
from worker.kafka.batches import Record
from worker.settings import Model, Settings, client_settings

PARTITIONS = 4
FOREIGN = (
    "the bundled model knows groceries, and has seen nothing of this shop:"
    " `pprm train` on the same files, then name what it wrote with --model."
)


async def play(
    options: DemoOptions, progress: DemoProgress, command: Sequence[str] = processes.COMMAND
) -> None:
    """Run the whole demo.

    `progress` holds what came of it, also when this is cancelled or raises.

    Raises:
        WorkerError, NoListError, EmbeddedBrokerError, TableError: the demo cannot go on; alone or
            in an exception group.
    """
    with _broker(options, progress) as broker, TemporaryDirectory(prefix="pprm-demo-") as directory:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(backfill.read(options, progress))
            begin = data.BEGIN if options.source.dataset == BUNDLED else (await reading).begin
            await _play_acts(
                options, progress, command, _flags(broker, Path(directory), options, begin), reading
            )


async def _play_acts(
    options: DemoOptions,
    progress: DemoProgress,
    command: Sequence[str],
    flags: dict[str, Any],
    reading: "asyncio.Task[data.Shop]",
) -> None:
    """Start a worker with these settings, then play both acts."""
    chosen = settings.load(flags)
    progress.prefix, progress.metrics_url = (
        chosen.topics.prefix,
        f"http://127.0.0.1:{chosen.http.port}/metrics",
    )
    if options.source.dataset != BUNDLED and chosen.model.directory == Model().directory:
        with progress.step("model") as step:
            step.detail = progress.note = FOREIGN
    with progress.step("topics"):
        await topics.create(client_settings(chosen.kafka), topics.plan(chosen))
    with processes.worker(flags, chosen.state.directory.parent / "worker.log", command) as worker:
        async with _alongside(processes.watch(worker)), _connected(chosen, progress) as publisher:
            context = DemoContext(options, chosen, worker, publisher, progress)
            _, shop = await asyncio.gather(
                backfill.worker_ready(context), backfill.publish(context, reading)
            )
            await backfill.first_lists(context, shop)
            await replay_run.replay_all(context, shop)


@contextmanager
def _broker(options: DemoOptions, progress: DemoProgress) -> Iterator[str]:
    if options.broker:
        progress.broker, progress.embedded = options.broker, False
        yield options.broker
        return
    with ExitStack() as running:
        with progress.step("embedded broker") as step:
            progress.broker = step.detail = running.enter_context(embedded.broker())
        yield progress.broker


def _flags(broker: str, directory: Path, options: DemoOptions, begin: int) -> dict[str, Any]:
    """Settings of the worker, unique where a broker is shared with others.

    `begin` is where the replay begins.
    """
    token = secrets.token_hex(3)
    return ({"model": {"directory": options.model}} if options.model else {}) | {
        "app_id": f"demo-{token}",
        "kafka": {"bootstrap_servers": broker, "session_timeout_seconds": 6},
        "topics": {"prefix": f"demo-{token}-" if options.broker else "", "partitions": PARTITIONS},
        "state": {"directory": directory / "state"},
        "recommendations": {"score_from": wire_rows.timestamp(begin)},
        "http": {"port": processes.free_port(settings.load().http.port)},
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
async def _connected(chosen: Settings, progress: DemoProgress) -> AsyncIterator[kafka.Publisher]:
    """Listen to lists and dead letters from before the first publication on."""
    client = client_settings(chosen.kafka)
    lists, letters = chosen.topics.name("recommendations"), chosen.topics.name("dead_letters")

    def on_list(message: Mapping[str, Any], at: float) -> None:
        if progress.seconds_to_first is None:
            progress.seconds_to_first = processes.seconds_since_start()
        if change := progress.lists.receive(message, at):
            progress.show_change(change)

    def on_dead_letter(_: Record) -> None:
        progress.dead_letters += 1

    async with (
        kafka.reader(client, [lists, letters], PARTITIONS) as reader,
        kafka.publisher(client, PARTITIONS, chosen.topics.partitioner) as publisher,
        _alongside(kafka.listen(reader, lists, on_list, on_dead_letter)),
    ):
        yield publisher
