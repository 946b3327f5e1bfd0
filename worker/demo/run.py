"""`pprm demo`: the scenario with its view, its end and its report."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from rich.console import Console

from pprm.data.files import TableError
from worker.demo import processes, view
from worker.demo.context import DemoOptions
from worker.demo.demo_progress import DemoProgress
from worker.demo.lists import NoListError
from worker.demo.processes import WorkerError
from worker.demo.report import figures, summary, what_is_left
from worker.demo.scenario import play
from worker.kafka.embedded import EmbeddedBrokerError
from worker.kafka.topics import TopicsError
from worker.ops import extras
from worker.settings import SettingsError

__all__ = ["DemoOptions", "run"]

REFRESH_SECONDS = 0.25
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXPECTED = (
    WorkerError, NoListError, EmbeddedBrokerError, TableError, SettingsError, TopicsError,
    KafkaError,
    ModuleNotFoundError,
)  # fmt: skip
"""Errors reported without a traceback; others are mistakes of ours, and show where."""


def run(options: DemoOptions, command: Sequence[str] = processes.COMMAND) -> int:
    """Run the demo until its end or Ctrl-C; returns the exit code."""
    # what the client says of topics just made would disturb the view; what matters comes as an
    # exception
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console, progress = Console(highlight=False), DemoProgress()
    error = asyncio.run(_until_ended(options, progress, console, command))
    if options.report:
        options.report.write_bytes(
            orjson.dumps(figures(progress), option=orjson.OPT_INDENT_2) + b"\n"
        )
    if error:
        console.print("[bold red]error:[/] ", end="")
        console.print(_words(error), markup=False, soft_wrap=True)
        return 1
    console.print(f"\n{summary(progress)}\n", markup=False)
    console.print(what_is_left(progress), markup=False, soft_wrap=True)
    return 0


async def _until_ended(
    options: DemoOptions, progress: DemoProgress, console: Console, command: Sequence[str]
) -> Exception | None:
    """Play and show the scenario.

    Returns the error that ended it, None at its end and on Ctrl-C.
    """
    scenario = asyncio.create_task(play(options, progress, command))
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, scenario.cancel)
    with view.shown(progress, console, options.ui) as update:
        while not scenario.done():
            await asyncio.wait([scenario], timeout=REFRESH_SECONDS)
            update()
    if scenario.cancelled():
        progress.ended = "interrupted"
        return None
    error = _cause(scenario.exception())
    if error is None or isinstance(error, EXPECTED):
        progress.ended = "failed" if error else "complete"
        return error
    raise error


def _words(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return extras.words(error)
    return str(error)


def _cause(error: BaseException | None) -> Any:
    """The first single error in nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
