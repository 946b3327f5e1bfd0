"""Files of any size, read once from front to back in bounded memory: lines of text, plain or gzip, and what is in them.

A download or a copy that was broken off ends in the middle of a line. Such a last line is left out and counted; any
other row that cannot be read is an error, which names the file and the line.
"""

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

R = TypeVar("R")
T = TypeVar("T")

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes read so far, and how many there are in all; None where that is unknown."""

CUT = "cut-off last line"
LINES_PER_REPORT = 4096


class TableError(ValueError):
    """Data that cannot be read; the text says where it stands and what to do."""


def silent(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


@contextmanager
def bar(console: Console, label: str) -> Iterator[Progress]:
    """Progress as a bar on a terminal, while the context lasts."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class Reading:
    """One pass over some files: how far it is, and how many rows it has left out, by reason."""

    def __init__(self, paths: Iterable[Path], progress: Progress = silent) -> None:
        """Raises `TableError` where a file is not there."""
        self.left_out: Counter[str] = Counter()
        self._progress, self._read, self._cut = progress, dict.fromkeys(paths, 0), set[Path]()
        if missing := [str(path) for path in self._read if not path.is_file()]:
            raise TableError(f"{', '.join(missing)}: no such file")
        self._total = sum(path.stat().st_size for path in self._read)

    def report(self, path: Path, done: int) -> None:
        """So many bytes of a file are read."""
        self._read[path] = done
        self._progress(sum(self._read.values()), self._total)

    def cut(self, path: Path) -> None:
        """A file turned out to be broken off."""
        self._cut.add(path)
        self.left_out[CUT] = len(self._cut)


class Source(Protocol):
    """A file that is being read."""

    path: Path
    reading: Reading
    is_cut: bool
    """Whether the row read last ends where the file was broken off."""

    def place(self) -> str:
        """Where the row read last stands, e.g. `line 7`."""
        ...


class Lines:
    """The lines of a UTF-8 text file, `.gz` or plain; iterate once."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading, self.is_cut, self._number = path, reading, False, 0

    def place(self) -> str:
        """Number of the line read last."""
        return f"line {self._number}"

    def __iter__(self) -> Iterator[str]:
        with self.path.open("rb") as raw:
            file = gzip.GzipFile(fileobj=raw) if self.path.suffix == ".gz" else raw
            for line in self._until_the_end(file):
                self._number += 1
                self.is_cut = not line.endswith(b"\n")
                if self._number % LINES_PER_REPORT == 0:
                    self.reading.report(self.path, raw.tell())
                yield line.decode("utf-8-sig" if self._number == 1 else "utf-8")
        self.reading.report(self.path, self.path.stat().st_size)

    def _until_the_end(self, file: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from file
        except EOFError:  # gzip broken off: the line that the end belonged to is lost
            self.is_cut = True
            self.reading.cut(self.path)
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"damaged gzip data ({error}); download the file again") from error


def parsed(source: Source, records: Iterable[R], parse: Callable[[R], T]) -> Iterator[T]:
    """What `parse` makes of each record of a file; it raises ValueError or KeyError where it cannot.

    Raises:
        TableError: a record that is not the broken-off end of the file is wrong.
    """
    remaining = iter(records)
    while True:
        try:
            record = next(remaining)
            row = parse(record)
        except StopIteration:
            return
        except (ValueError, KeyError, csv.Error) as error:
            if source.is_cut:
                source.reading.cut(source.path)
                return
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise TableError(f"{source.path}, {source.place()}: {reason}") from error
        yield row


def csv_records(lines: Lines, header: Sequence[str] | None = None) -> Iterator[dict[str, str]]:
    """Rows of a CSV file by column name; the names are in its first row unless they are given."""
    rows = filter(None, csv.reader(lines, strict=True))
    names = next(rows, []) if header is None else list(header)
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    for fields in rows:
        if len(fields) != len(names):
            raise ValueError(
                f"{len(fields)} values for {len(names)} columns; put text that holds commas or line breaks into "
                "double quotes"
            )
        yield dict(zip(names, fields, strict=True))


def json_records(lines: Lines) -> Iterator[Mapping[str, Any]]:
    """Objects of a file of JSON lines."""
    for line in lines:
        if line.strip():
            record = orjson.loads(line)
            if not isinstance(record, dict):
                raise ValueError("a line must be one JSON object")
            yield record
