"""What a partition costs a worker, and from that, on paper, what a thousand cost."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.processes import MIB, open_files, resident, threads
from benchmarks.scale import store
from pprm.catalogue.popularity import COLUMNS, MAX_SNAPSHOT, Popularity, Purchase, Snapshot
from pprm.state.user_state import DAY

STATE = 5000
"""Bytes; random ones, which no compression makes smaller."""
WRITTEN = 320 * MIB
"""Per partition: more than the block cache that all share."""
PUTS = 5
DAYS = 17_000
"""A day in 2016."""
PAPER = (1, 8, 64, 250, 1000)
"""Partitions of one worker."""
TOPICS = 4
"""Keyed by user: each partition is fetched from all of them."""
FETCH = MIB
"""Bytes that a fetch may bring of a partition of a topic, Faust's `consumer_max_fetch_size`."""


def full(partitions: int) -> dict[str, Any]:
    """Memory and files of so many partitions of the table once their caches are full.

    It runs in a process of its own.
    """
    rng, keys = np.random.default_rng(0), range(WRITTEN // STATE)
    # RocksDB compacts to the end
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        table, before = store.open_table(Path(directory), partitions), resident()
        files, running = open_files("self"), threads("self")
        for partition in range(partitions):
            for start in range(0, len(keys), 1000):
                chunk = keys[start : start + 1000]
                table.write(partition, {b"u%d" % key: rng.bytes(STATE) for key in chunk}, 0, 1)
        for partition in range(partitions):
            for start in range(0, len(keys), 1000):
                table.get_many(partition, [b"u%d" % key for key in keys[start : start + 1000]])
        return {
            "partitions": partitions, "resident_bytes": resident() - before,
            "open_files": open_files("self") - files, "threads": threads("self") - running,
        }  # fmt: skip


def popularity(partitions: int) -> dict[str, Any]:
    """Measure a worker that knows so many partitions' popularity by snapshots.

    Returns its memory, and milliseconds per snapshot.
    """
    rng, popularity, before = np.random.default_rng(0), Popularity(), resident()
    products = rng.integers(1 << 63, size=MAX_SNAPSHOT).astype(np.uint64)
    snapshot = Snapshot(DAYS, products, rng.random((MAX_SNAPSHOT, COLUMNS)).astype(np.float32))
    for partition in range(partitions):
        popularity.put(partition, snapshot)
    memory, began = resident() - before, perf_counter()
    for partition in range(PUTS):
        popularity.put(partition % partitions, snapshot)
    return {
        "partitions": partitions, "resident_bytes": memory,
        "ms_per_snapshot": (perf_counter() - began) / PUTS * 1e3
    }  # fmt: skip


def today(purchases: int) -> dict[str, Any]:
    """Measure the current day's purchases, which popularity keeps until midnight.

    Returns their memory, and what midnight takes.
    """
    rng, popularity, before = np.random.default_rng(0), Popularity(), resident()
    popularity.advance(DAYS * DAY)
    for number in range(purchases // 1000):
        products = rng.integers(30_000, size=1000).tolist()
        popularity.add(
            [Purchase((1 << 62) + product, DAYS * int(DAY) + number) for product in products]
        )
    held, began = resident() - before, perf_counter()
    popularity.advance((DAYS + 1) * DAY)
    return {
        "purchases": purchases, "bytes_per_purchase": held / purchases,
        "midnight_seconds": perf_counter() - began,
    }  # fmt: skip


def slope(measured: Iterable[Mapping[str, Any]], name: str) -> tuple[float, float]:
    """Value at no partition, and per partition, by the least squares."""
    rows = list(measured)
    per, base = np.polyfit([row["partitions"] for row in rows], [row[name] for row in rows], 1)
    return float(base), float(per)


def paper(
    idle: Iterable[Mapping[str, Any]], full: Iterable[Mapping[str, Any]], known: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One worker with 1 to 1,000 partitions, by straight lines through what was measured.

    Args:
        idle: of a worker with so many partitions (`workers.observe`).
        full: of tables with full caches.
        known: of the popularity of many partitions.
    """
    idle, full = list(idle), list(full)
    lines = {
        name: slope(idle, name)
        for name in ("resident_bytes", "open_files", "idle_cores", "ready_seconds")
    }
    shared, caches = slope(full, "resident_bytes")
    share = known["resident_bytes"] / known["partitions"]
    return [
        {
            "partitions": count, "rocksdb_instances": count,
            "open_files": round(_at(lines["open_files"], count)),
            "idle_bytes": _at(lines["resident_bytes"], count),
            "full_bytes": _at(lines["resident_bytes"],
            count) + shared + count * (caches + TOPICS * FETCH + share),
            "cache_bytes": shared + count * caches, "fetch_bytes": count * TOPICS * FETCH,
            "popularity_bytes": count * share,
            "idle_cores": _at(lines["idle_cores"], count),
            "ready_seconds": _at(lines["ready_seconds"], count),
        }
        for count in PAPER
    ]  # fmt: skip


def _at(line: tuple[float, float], count: int) -> float:
    return max(line[0] + line[1] * count, 0.0)
