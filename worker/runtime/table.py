"""A Faust table that is read and written a micro-batch at a time."""

from collections.abc import Iterator, Mapping, Sequence

import rocksdict
from faust.tables.table import Table


class BatchTable(Table):  # type: ignore[misc]
    """Raw bytes per key; explicit partitions, so no current event is needed and two partitions never mix."""

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of the keys, None where there is none."""
        values: list[bytes | None] = self.data._db_for_partition(partition).get(list(keys))
        return values

    def write(self, partition: int, updates: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Write values (None deletes) and the changelog offset that covers them in one RocksDB WriteBatch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in updates.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self.data.offset_key, str(changelog_offset).encode())
        self.data._db_for_partition(partition).write(batch)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values of a partition. Exhaust it at once: a live iterator keeps the database locked."""
        return (
            (key, value) for key, value in self.data._db_for_partition(partition).items() if key != self.data.offset_key
        )

    def estimated_keys(self, partition: int) -> int:
        """RocksDB's own estimate of the number of keys."""
        return self._property(partition, "rocksdb.estimate-num-keys")

    def bytes_on_disk(self, partition: int) -> int:
        """Bytes of the partition's sorted files."""
        return self._property(partition, "rocksdb.total-sst-files-size")

    def _property(self, partition: int, name: str) -> int:
        return int(self.data._db_for_partition(partition).property_int_value(name) or 0)
