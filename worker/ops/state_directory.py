"""The worker's directory on disk belongs to one process at a time.

A lock on a file in it is held until the process ends.

It holds what shoppers did: nobody but the worker's user may look into it. RocksDB locks each
partition too, but the second worker would learn it one partition and half a minute at a time.
"""

import fcntl
import os
import stat
from pathlib import Path

from pprm.core.errors import Foreseen

LOCK_FILE = "worker.lock"


class StateDirectoryError(Foreseen, RuntimeError):
    """The directory cannot be used; the message says what to do."""


_held: list[int] = []
"""Descriptors of the locks, open for as long as the process lives."""
PRIVATE = 0o077
"""Permissions that no file made by this process has: those of group and others."""


def lock(directory: Path, *inside: Path) -> None:
    """Make the directory, where it is missing, and take it for this process.

    Close it to other users. Make those `inside` it, too.

    Raises:
        StateDirectoryError: another process has it, or it cannot be written.
    """
    try:
        os.umask(PRIVATE)
        directory.mkdir(parents=True, exist_ok=True)
        _close_to_others(directory.resolve())
        for made in inside:
            made.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateDirectoryError(
            f"cannot write the state directory {directory}"
            f" ({error.strerror}): set state.directory to one that can be"
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


def _close_to_others(directory: Path) -> None:
    """Remove the rights of group and others, where the directory is a worker's, or new."""
    if not (directory / LOCK_FILE).exists() and {path.name for path in directory.iterdir()} - {
        "lost+found"
    }:
        return
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        mine = not path.is_symlink() and os.geteuid() in (0, status.st_uid)
        if mine and status.st_mode & PRIVATE and not status.st_mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(status.st_mode) & ~PRIVATE)
