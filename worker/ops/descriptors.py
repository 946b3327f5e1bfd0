"""File descriptors of the process: RocksDB's files, the connections to the brokers, HTTP."""

import os
import resource

ENOUGH = 65_536
"""Thousands of RocksDB files, and then some."""


def raise_limit() -> None:
    """Allow enough open files, as far as the administrator does.

    What a shell allows (1,024, 256) is meant for smaller programs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free() -> int | None:
    """Return how many files the process may still open.

    None where there is no limit, or no /proc that lists the open ones.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or not os.path.isdir("/proc/self/fd"):
        return None
    return limit - len(os.listdir("/proc/self/fd"))
