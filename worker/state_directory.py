"""The worker's directory on disk belongs to one process at a time: a lock on a file in it, held until the process ends.

RocksDB locks each partition too, but the second worker would learn it one partition and half a minute at a time.
"""

import fcntl
import os
from pathlib import Path

LOCK_FILE = "worker.lock"


class StateDirectoryError(RuntimeError):
    """The directory cannot be used; the message says what to do."""


_held: list[int] = []
"""Descriptors of the locks, open for as long as the process lives."""


def lock(directory: Path) -> None:
    """Make the directory, where it is missing, and take it for this process.

    Raises:
        StateDirectoryError: another process has it, or it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateDirectoryError(
            f"cannot write the state directory {directory} ({error.strerror}): set state.directory to one that can be"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StateDirectoryError(
            f"another worker (process {owner}) uses the state directory {directory}:"
            " give each worker one of its own with state.directory (--state)"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    _held.append(descriptor)
