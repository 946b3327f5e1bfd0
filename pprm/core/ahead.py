"""Compiles loops ahead of their use, in several processes: a compiler keeps the interpreter.

Which loops, and for which types, shows when what needs them is done once with the loops as they are
written, in Python: with little data that takes a tenth of a second.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from pprm.core.compiled import LOOPS, is_missing

MOST = 4
"""Processes that compile: there are some thirty loops, and the longest takes a tenth of all."""

HELPER = [sys.executable, "-m", __name__]


class Call(NamedTuple):
    """A loop that Python called, and numba's types of what it was called with."""

    module: str
    name: str
    types: tuple[Any, ...]

    def compile(self) -> None:
        """Compile it, and keep it on disk."""
        getattr(import_module(self.module), self.name).compile(self.types)


def compile_ahead(work: Callable[[], object]) -> None:
    """Do some work, so that all the loops that it calls are compiled.

    Those that are not on disk are compiled side by side. The work is done twice then.
    """
    processes = min(_cores(), MOST)
    if processes > 1:
        with as_python() as calls:
            work()
        if not calls:
            return
        _compile(deque(calls), processes - 1)
    work()


@contextmanager
def as_python() -> Iterator[dict[Call, None]]:
    """Run the loops that are missing on disk as Python. Yields their calls, in order.

    What they call in turn is compiled with them.
    """
    calls, depth = dict[Call, None](), 0

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            with np.errstate(all="ignore"):  # as in a compiled loop
                return function(*arguments)
        finally:
            depth -= 1

    def instead(loop: Any, *arguments: Any) -> Callable[..., Any]:
        function = loop.py_func
        if not depth:
            types = tuple(map(loop.typeof_pyval, arguments))
            if not is_missing(loop, types):
                return type(loop)._compile_for_args(loop, *arguments)  # type: ignore[no-any-return]
            calls[Call(function.__module__, function.__name__, types)] = None
        return partial(run, function)

    # numba asks this method of a loop for what to call where it has nothing compiled
    for loop in LOOPS:
        loop._compile_for_args = partial(instead, loop)
    try:
        yield calls
    finally:
        for loop in LOOPS:
            del loop._compile_for_args


def _cores() -> int:
    """Cores that this process may use; macOS does not say, and has all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _compile(left: deque[Call], helpers: int) -> None:
    """Compile calls here and in so many other processes, which begin with the last ones."""
    threads = [Thread(target=_share, args=(left,)) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    with suppress(IndexError):
        while True:
            left.popleft().compile()
    for thread in threads:
        thread.join()


def _share(left: deque[Call]) -> None:
    """Have another process compile calls until none is left.

    It ends with the connection, so also when this process is killed. Where it ends by itself,
    what it leaves is compiled by who needs it.
    """
    ours, theirs = Pipe()
    with (
        suppress(IndexError, OSError, EOFError),
        subprocess.Popen(
            [*HELPER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for this process
        ),
        ours,
    ):
        theirs.close()
        while True:
            ours.send(left.pop())
            ours.recv()


def _help(file_descriptor: int) -> None:
    """Compile what comes, until nothing more does."""
    with suppress(EOFError, OSError), Connection(file_descriptor) as calls:
        while True:
            calls.recv().compile()
            calls.send(None)


if __name__ == "__main__":
    _help(int(sys.argv[1]))
