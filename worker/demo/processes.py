"""The worker as a process of its own: started, watched, waited for, and ended whatever happens."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.settings import inherited_environment

COMMAND = [sys.executable, "-m", "worker", "worker"]
START_SECONDS = 120.0
"""For an empty catalogue: BERT takes milliseconds for each text that the artifact lacks."""
TAKEN_IN = "pprm_catalogue_records_total"
"""Metric: product records that the worker has taken in."""
STOP_SECONDS = 15.0
LOG_LINES = 15


class WorkerError(RuntimeError):
    """The worker ended, or never became ready; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A running worker."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def get(self, path: str) -> str | None:
        """Body of a page, None where nothing answers or the answer is not 200."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=2) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def waits_for(self) -> str:
        """Why it is not ready, in its words; nothing once it is."""
        try:
            urllib.request.urlopen(self.url + "/ready", timeout=2).close()
        except urllib.error.HTTPError as answer:
            with answer:
                return str(json.loads(answer.read())["reason"])
        except OSError:
            return "its process begins"
        return ""

    def last_lines(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])


@contextmanager
def worker(
    settings: Mapping[str, Any], log: Path, command: Sequence[str] = COMMAND
) -> Iterator[Worker]:
    """Run a worker while the context lasts, with settings on top of the environment's (nested)."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=inherited_environment() | environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends the worker
        )
    try:
        yield Worker(process, f"http://127.0.0.1:{settings['http']['port']}", log)
    finally:
        _end(process)


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings as environment variables."""
    variables: dict[str, str] = {}
    for name, value in settings.items():
        inner = (
            {f"{name}__{key}": nested for key, nested in value.items()}
            if isinstance(value, Mapping)
            else {name: value}
        )
        variables |= {f"PPRM_{key}".upper(): str(setting) for key, setting in inner.items()}
    return variables


async def until_ready(
    worker: Worker,
    seconds: float = START_SECONDS,
    tell: Callable[[str], None] = lambda reason: None,
) -> None:
    """Wait for /ready; `tell` gets what the worker waits for.

    Raises:
        WorkerError: it did not become ready in time.
    """
    deadline, known = time.monotonic() + seconds, 0.0
    while reason := await asyncio.to_thread(worker.waits_for):
        tell(reason)
        if (taken_in := await metric(worker, TAKEN_IN)) > known:
            deadline, known = time.monotonic() + seconds, taken_in
        if time.monotonic() > deadline:
            raise WorkerError(
                f"the worker is not ready after {seconds:.0f} s; its log"
                f" ends:\n{worker.last_lines()}"
            )
        await asyncio.sleep(0.1)


async def metric(worker: Worker, sample: str) -> float:
    """Value of a metric, given with its labels as it is printed; 0 where there is none yet."""
    page = await asyncio.to_thread(worker.get, "/metrics")
    found = re.search(rf"^{re.escape(sample)} (\S+)$", page or "", re.MULTILINE)
    return float(found[1]) if found else 0.0


async def watch(worker: Worker) -> None:
    """Watch for ever.

    Raises:
        WorkerError: the worker has ended.
    """
    while worker.process.poll() is None:
        await asyncio.sleep(0.2)
    raise WorkerError(
        f"the worker ended with code {worker.process.returncode}; its log"
        f" ends:\n{worker.last_lines()}"
    )


def free_port(wanted: int) -> int:
    """Return the port wanted if nothing listens there, else a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise WorkerError("no free port on the loopback interface")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def seconds_since_start() -> float:
    """Seconds since this process was started.

    Where the system knows (Linux), they begin before Python itself was loaded.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.perf_counter() - _IMPORTED


_IMPORTED = time.perf_counter()
