"""The table in real RocksDB files: what a crash leaves behind."""

import os
from multiprocessing import get_context
from pathlib import Path

from tests.unit.runtime.idle_app import NOBODY, idle_app
from worker.runtime.app import StateTable
from worker.runtime.listener import Nobody, RuntimeListener
from worker.runtime.table import BatchTable

RECORDS = 3000
VALUE = b"v" * 50_000
"""Large enough that RocksDB writes some of its files before the load has ended."""


def table(
    directory: Path,
    partitions: int = 1,
    memory: int = 64 << 20,
    listener: RuntimeListener = NOBODY,
) -> BatchTable:
    made = StateTable("user_state", partitions, memory)
    return idle_app(directory, made, listener).state_table


class Quarantines(Nobody):
    """Counts them."""

    count = 0

    def on_quarantine(self) -> None:
        self.count += 1

    def follows(self, value: bytes, held: bytes) -> bool:
        return value > held


def load(directory: Path, end: bool) -> None:
    """Load as the recovery does, and end as `kill -9` would.

    In the middle, or after the end and another write.
    """
    made = table(directory)
    with made.loading(0):
        for offset in range(RECORDS):
            made.write(0, {_key(offset): VALUE}, offset, 1)
        if not end:
            os._exit(0)
    made.write(0, {_key(RECORDS): VALUE}, RECORDS, 1)
    os._exit(0)


def _key(offset: int) -> bytes:
    return f"{offset:06}".encode()


def loaded(directory: Path, end: bool) -> tuple[int, list[bool]]:
    """The offset that is held after the crash, and which of the records."""
    process = get_context("spawn").Process(target=load, args=(directory, end))
    process.start()
    process.join(60)
    made = table(directory)
    held = made.data._db_for_partition(0).get(made.data.offset_key)
    return int(held or -1), [
        value is not None for value in made.get_many(0, [_key(n) for n in range(RECORDS + 1)])
    ]


def test_a_crash_while_loading_leaves_what_the_offset_covers_and_no_more(tmp_path: Path) -> None:
    offset, there = loaded(tmp_path, end=False)
    assert 0 < offset < RECORDS - 1
    assert there == [number <= offset for number in range(RECORDS + 1)]


def test_what_was_loaded_outlives_a_crash_after_its_end(tmp_path: Path) -> None:
    offset, there = loaded(tmp_path, end=True)
    assert offset == RECORDS and all(there)


def test_the_listener_hears_of_files_that_were_moved_aside_and_judges_states(
    tmp_path: Path,
) -> None:
    listener = Quarantines()
    made = table(tmp_path, partitions=2, listener=listener)
    assert made.follows(b"b", b"a") and not made.follows(b"a", b"b")
    made.write(1, {b"key": b"value"}, 7, 1)
    made.data.mark_broken(0)
    made.write(0, {b"key": b"value"}, 7, 1)
    assert listener.count == 1 and made.get_many(0, [b"key"]) == [b"value"]


def test_partitions_share_what_memory_they_may_take(tmp_path: Path) -> None:
    memory, partitions = 16 << 20, 16
    made = table(tmp_path, partitions, memory)
    shared = made.data.rocksdb_options.memory
    for offset in range(100):
        for partition in range(partitions):
            made.write(partition, {_key(offset): VALUE}, offset, 1)
    for partition in range(partitions):  # 80 MB in all
        assert shared.write_buffers.get_usage() <= 3 * partitions * shared.write_buffer
        made.data._db_for_partition(partition).flush()
        assert all(
            value == VALUE
            for value in made.get_many(partition, [_key(offset) for offset in range(100)])
        )
    assert memory / 2 < shared.cache.get_usage() < memory * 1.2
