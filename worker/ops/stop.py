"""Ends the process at once when SIGTERM comes during the start.

Loading the model, and compiling its loops at a first start, takes longer than a supervisor waits,
and nothing has begun yet that would have to be finished. As process 1 of a container, a process
does not even get signals that it has no handler for. So this module imports nothing that is slow.
"""

import os
import signal
from typing import Any, NoReturn


def at_once() -> None:
    """Have SIGTERM and Ctrl-C end the process with code 0, until others take them over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def end(*_: Any) -> NoReturn:
    """End the process: threads that load or compile are not waited for."""
    os._exit(0)
