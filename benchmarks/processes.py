"""What Linux says of a process: memory, CPU time, open files; and work in a process of its own."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
MIB = 1 << 20
_TICK = os.sysconf("SC_CLK_TCK")


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result from a fresh process.

    What it allocates is its own, and is gone afterwards.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def resident(pid: int | str = "self") -> int:
    """Bytes of memory in use."""
    return _status(pid, "VmRSS")


def peak(pid: int | str = "self") -> int:
    """Most bytes in use since the process began, or since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak() -> None:
    """Measure the peak of this process from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(pid: int | str, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def cpu_seconds(pid: int | str) -> float:
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def open_files(pid: int | str) -> int:
    """File descriptors, sockets included."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int | str) -> int:
    """Threads alive."""
    return len(os.listdir(f"/proc/{pid}/task"))


def bytes_below(directory: Path) -> int:
    """Bytes of all files in a directory; files that vanish meanwhile do not count."""
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return total
