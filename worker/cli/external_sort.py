"""Sorts more rows than fit into memory: sorted runs on disk, merged (external merge sort).

The sort is stable.
"""

import struct
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from pathlib import Path

MEMORY = 64 << 20
"""Bytes of rows in memory before they go to disk."""
FAN_IN = 128
"""Runs merged at a time: so many files are open."""
BUFFER = 1 << 16
"""Bytes read ahead of each run."""
OVERHEAD = 150
"""Bytes that a row takes in memory beside its own."""

Row = tuple[int, bytes]
"""Key and content."""
_HEAD = struct.Struct("<qI")
_KEY = itemgetter(0)


class Sorter:
    """Takes rows in any order and yields them by key, equal keys in the order of their coming."""

    def __init__(self, directory: Path, memory: int = MEMORY) -> None:
        """`directory` is for the runs; whoever made it removes it."""
        self._directory, self._memory, self._names = directory, memory, iter(range(1 << 62))
        self._rows: list[Row] = []
        self._bytes = 0
        self._runs: list[Path] = []

    def add(self, key: int, content: bytes) -> None:
        """Take a row."""
        self._rows.append((key, content))
        self._bytes += len(content) + OVERHEAD
        if self._bytes >= self._memory:
            self._runs.append(self._write(sorted(self._rows, key=_KEY)))
            self._rows, self._bytes = [], 0
            if len(self._runs) >= FAN_IN:
                self._runs = [self._merged()]

    def __iter__(self) -> Iterator[Row]:
        """All rows; can be asked for again."""
        return merge(*map(_read, self._runs), sorted(self._rows, key=_KEY), key=_KEY)

    def _merged(self) -> Path:
        """Merge all runs, which come in the order in which they were written.

        So the sort stays stable.
        """
        made = self._write(merge(*map(_read, self._runs), key=_KEY))
        for run in self._runs:
            run.unlink()
        return made

    def _write(self, rows: Iterable[Row]) -> Path:
        path = self._directory / f"run-{next(self._names)}"
        try:
            with path.open("xb", buffering=BUFFER) as file:
                for key, content in rows:
                    file.write(_HEAD.pack(key, len(content)) + content)
        except OSError as error:
            raise OSError(
                f"{self._directory}: {error.strerror}. The rows are sorted on disk: let TMPDIR name"
                f" a directory with room for all of them"
            ) from error
        return path


def _read(path: Path) -> Iterator[Row]:
    with path.open("rb", buffering=BUFFER) as file:
        while head := file.read(_HEAD.size):
            key, size = _HEAD.unpack(head)
            yield key, file.read(size)
