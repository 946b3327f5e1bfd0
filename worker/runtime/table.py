"""A Faust table that is read and written a micro-batch at a time.

Its RocksDB files are replaced when broken.
"""

import gc
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import rocksdict
from faust.stores.rocksdb import RocksDBOptions, Store
from faust.tables.table import Table

from worker.runtime.listener import RuntimeListener

GENERATION_KEY = b"__pprm\0generation__"
LOG_KEY = b"__pprm\0changelog__"
COVERED_KEY = b"__pprm\0covered__"
_META = (Store.offset_key, GENERATION_KEY, LOG_KEY, COVERED_KEY)
BROKEN = ".broken"
"""A file of this suffix beside a partition's directory: it failed in use, do not open it again."""
ARENA = 64 << 10
"""Bytes by which a write buffer grows, the first record included; per partition."""
BLOOM_BITS = 10
"""Bits a key of the filter: one in a hundred reads of an unknown shopper touches a file."""
Covered: TypeAlias = dict[str, tuple[int, int]]
"""By input topic: the log's number, and the offset below which a partition's states hold all."""
_LOCK_MESSAGES = ("lock hold by current process", "While lock file")


class Memory:
    """What the RocksDBs of all partitions share, so that memory does not grow with their number.

    The write buffers are charged to the block cache: together they take about its size. Writing
    goes on where the disk falls behind, until a partition has three buffers full: a stall of all
    could wait for ever for the buffer of a partition that nobody writes to.
    """

    def __init__(self, size: int) -> None:
        """Share `size` bytes, a quarter of them for write buffers."""
        self.write_buffer = size // 16
        """Bytes of one partition's at most."""
        self.cache = rocksdict.Cache(size)
        self.write_buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            size // 4, False, self.cache
        )


class SharingOptions(RocksDBOptions):  # type: ignore[misc]
    """Faust's RocksDB options, with the memory that partitions share."""

    def __init__(self, memory: Memory, **options: Any) -> None:
        self.memory = memory
        super().__init__(write_buffer_size=memory.write_buffer, **options)

    def as_options(self) -> Any:
        """Options of one RocksDB."""
        options, blocks = super().as_options(), rocksdict.BlockBasedOptions()
        blocks.set_block_cache(self.memory.cache)
        # else they are beside the cache, and grow with the state
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_bloom_filter(BLOOM_BITS, block_based=False)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self.memory.write_buffers)
        options.set_arena_block_size(ARENA)
        return options


class QuarantiningStore(Store):  # type: ignore[misc]
    """Faust's RocksDB store.

    A partition that cannot be opened is moved aside and comes back from the changelog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rocksdb_options = SharingOptions(**self.options)

    def _open_for_partition(self, partition: int) -> Any:
        self.table.forget(partition)
        path = Path(self.partition_path(partition))
        marker = path.with_name(path.name + BROKEN)
        if marker.exists():
            self._move_aside(path, "it failed in use")
            marker.unlink()
        try:
            return self._open_and_read(partition)
        except Exception as error:
            if _is_locked_or_full(error) or not path.exists():
                raise
            reason = str(error)
        gc.collect()  # what was opened and could not be read still holds the files
        self._move_aside(path, reason)
        return self._open_and_read(partition)

    def _open_and_read(self, partition: int) -> Any:
        db = super()._open_for_partition(partition)
        # damaged files may open, and fail at the first read: then they are moved aside, too
        for key in _META:
            db.get(key)
        return db

    def _move_aside(self, path: Path, reason: str) -> None:
        """Keep the newest broken directory for whoever wants to look.

        Older ones only fill the disk.
        """
        for old in path.parent.glob(f"{path.name}.quarantined-*"):
            shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(path.with_name(f"{path.name}.quarantined-{time.time_ns()}"))
        self.log.error("moved %s aside, rebuilding it from the changelog: %s", path.name, reason)
        self.app.listener.on_quarantine()

    def mark_broken(self, partition: int) -> None:
        """Have the partition moved aside at the next start: its files failed in use."""
        path = Path(self.partition_path(partition))
        path.with_name(path.name + BROKEN).touch()

    def wipe(self, partition: int) -> None:
        """Empty the partition."""
        self._dbs.pop(partition, None)
        self.table.forget(partition)
        rocksdict.Rdict.destroy(str(self.partition_path(partition)))


def _is_locked_or_full(error: Exception) -> bool:
    # The words before the path: a directory called "lock" must not make every error look like a
    # held lock.
    return any(words in str(error) for words in (*_LOCK_MESSAGES, "No space left"))


class BatchTable(Table):  # type: ignore[misc]
    """A table of raw bytes per key.

    Each call names its partition. So no current event is needed, as Faust's tables need one, and
    two partitions never mix.
    """

    next_append: dict[int, int]
    """Offset of a partition's next changelog record, if nobody else writes there."""
    logs: dict[int, int]
    """By partition, number of the changelog topic that its files belong to; 0: unknown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.next_append, self.logs = {}, {}
        self._loading: set[int] = set()
        self._covered: dict[int, Covered] = {}
        super().__init__(*args, **kwargs)

    def _new_store_by_url(self, url: Any) -> QuarantiningStore:
        return QuarantiningStore(
            url, self.app, self, table_name=self.name, key_type=self.key_type,
            value_type=self.value_type,
            key_serializer=self.key_serializer, value_serializer=self.value_serializer,
            loop=self.loop, options=dict(self.options),
        )  # fmt: skip

    def follows(self, value: bytes, held: bytes) -> bool:
        """Whether a value was made from the other one or a later one, as the listener says."""
        listener: RuntimeListener = self.app.listener
        return listener.follows(value, held)

    def forget(self, partition: int) -> None:
        """Forget what is known of a partition's files, since they are opened anew or gone.

        The next question reads it from the files.
        """
        self._covered.pop(partition, None)

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of the keys, None where there is none."""
        return self._guarded(partition, lambda db: db.get(list(keys)))  # type: ignore[no-any-return]

    def write(
        self,
        partition: int,
        updates: Mapping[bytes, bytes | None],
        changelog_offset: int,
        generation: int,
    ) -> None:
        """Write values (None deletes) and the changelog offset that covers them in one WriteBatch.

        The offset is the newest one. `generation` is the consumer group's, of whoever appended them
        to the changelog.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in updates.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self.data.offset_key, str(changelog_offset).encode())
        batch.put(GENERATION_KEY, str(generation).encode())
        batch.put(LOG_KEY, str(self.logs.get(partition, 0)).encode())
        if covered := self._covered.get(partition):
            batch.put(COVERED_KEY, msgspec.json.encode(covered))
        # a crash loses the newest updates and their offset together: both are in this batch
        options = rocksdict.WriteOptions()
        options.disable_wal = partition in self._loading
        self._guarded(partition, lambda db: db.write(batch, options))

    @contextmanager
    def loading(self, partition: int) -> Iterator[None]:
        """Write a partition's records around RocksDB's log until the end of the block.

        Then they are flushed to its files.

        A crash in between loses the newest of them together with the offset that covers them, never
        one without the other: they are in one WriteBatch, and RocksDB flushes in their order.
        """
        self._loading.add(partition)
        try:
            yield
        # before any write that is logged: a log that is replayed over a hole would hide it
        finally:
            self._guarded(partition, lambda db: db.flush())
            self._loading.discard(partition)

    def generation(self, partition: int) -> int:
        """The newest generation written, 0 where none is known."""
        return int(self.data._db_for_partition(partition).get(GENERATION_KEY) or 0)

    def changelog_of(self, partition: int) -> int:
        """Number of the changelog that a partition's files were written beside; 0: unknown."""
        return int(self.data._db_for_partition(partition).get(LOG_KEY) or 0)

    def covered(self, partition: int) -> Covered:
        """What the partition's files say of the input behind them."""
        value = self.data._db_for_partition(partition).get(COVERED_KEY)
        return msgspec.json.decode(value, type=Covered) if value else {}

    def cover(self, partition: int, covered: Covered) -> None:
        """Note that the states hold all records of these topics below these offsets.

        It is in memory only, until the next `write`.
        """
        self._covered.setdefault(partition, self.covered(partition)).update(covered)

    @property
    def partitions_open(self) -> list[int]:
        """Partitions whose files are open here."""
        return list(self.data._dbs)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values of a partition.

        Exhaust it at once: a live iterator keeps the database locked.
        """
        with self._marking_broken(partition):
            for key, value in self.data._db_for_partition(partition).items():
                if key not in _META:
                    yield key, value

    def estimated_keys(self, partition: int) -> int:
        """RocksDB's own estimate of the number of keys."""
        return self._property(partition, "rocksdb.estimate-num-keys")

    def bytes_on_disk(self, partition: int) -> int:
        """Bytes of the partition's sorted files."""
        return self._property(partition, "rocksdb.total-sst-files-size")

    def _property(self, partition: int, name: str) -> int:
        return int(self.data._db_for_partition(partition).property_int_value(name) or 0)

    def _guarded(self, partition: int, use: Callable[[Any], Any]) -> Any:
        with self._marking_broken(partition):
            return use(self.data._db_for_partition(partition))

    @contextmanager
    def _marking_broken(self, partition: int) -> Iterator[None]:
        """Have files that failed in use moved aside at the next start.

        The error ends the process.
        """
        try:
            yield
        except Exception as error:
            if not _is_locked_or_full(error):
                self.data.mark_broken(partition)
            raise
