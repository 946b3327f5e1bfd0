"""Rows of files of any size, read once from front to back in bounded memory.

Rows that cannot be used are left out. So is a last line that ends in the middle, as of a download
that was broken off.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from pprm.data import formats
from pprm.data.reading_report import PassedOver, Report, Unusable
from pprm.data.reading_report import TableError as TableError

R = TypeVar("R")
T = TypeVar("T")

OnProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes read so far, and how many there are in all; None where that is unknown."""
Note: TypeAlias = Callable[[Exception], None]
"""Called with what is changed of the row at hand: a cell that is not used, a text that is cut."""

CUT = "broken off: what came after it is missing"


def silent(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


@contextmanager
def bar(console: Console, label: str) -> Iterator[OnProgress]:
    """Progress as a bar on a terminal, while the context lasts."""
    with _bar(console, label, DownloadColumn()) as on_progress:
        yield on_progress


@contextmanager
def counting(console: Console, label: str) -> Iterator[OnProgress]:
    """The same, of things that are counted."""
    with _bar(console, label, MofNCompleteColumn()) as on_progress:
        yield on_progress


@contextmanager
def _bar(console: Console, label: str, size: ProgressColumn) -> Iterator[OnProgress]:
    columns = TextColumn("{task.description}"), BarColumn(), size, TimeRemainingColumn()
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class Reading:
    """One pass over some files: how far it is, and the report of what it has left out."""

    def __init__(
        self, paths: Iterable[Path], progress: OnProgress = silent, strict: bool = False
    ) -> None:
        """Raises `TableError` where a file is not there.

        A `strict` reading does where a row cannot be used.
        """
        self.report = Report(strict)
        self._progress, self._read = progress, dict.fromkeys(paths, 0)
        if wrong := [f"{path}: {why}" for path in self._read if (why := formats.missing(path))]:
            raise TableError("; ".join(wrong))
        self._total = sum(path.stat().st_size for path in self._read)

    def advance(self, path: Path, done: int) -> None:
        """So many bytes of a file are read."""
        self._read[path] = done
        self._progress(sum(self._read.values()), self._total)


class OpenFile(Protocol):
    """A file that is being read."""

    path: Path
    reading: Reading
    is_cut: bool
    """Whether the row read last ends where the file was broken off."""

    def place(self) -> str:
        """Where the row read last begins, e.g. `line 7`."""
        ...

    def note(self, error: Exception) -> None:
        """Something of the row read last is changed."""
        ...


def parsed(
    source: OpenFile, records: Iterable[R | Unusable], parse: Callable[[R], T]
) -> Iterator[T]:
    """Yield what `parse` makes of each record of a file.

    `parse` raises ValueError or KeyError where it cannot, or PassedOver.

    Raises:
        TableError: most of the records cannot be used, or one where the reading is strict.
    """
    name, report = str(source.path), source.reading.report
    part = report.part(name)
    for record in records:
        part.read += 1
        try:
            if isinstance(record, Unusable):
                raise record
            row = parse(record)
        except PassedOver as reason:
            report.passed_over(name, str(reason), source.place())
        except TableError:  # strict, about a cell: it names its place
            raise
        except (ValueError, KeyError) as error:
            report.unusable(name, _reason(source, error), source.place())
        else:
            yield row
    report.check(name)


def _reason(source: OpenFile, error: Exception) -> Exception:
    if source.is_cut:
        return Unusable(CUT)
    return Unusable(f"there is no {error}") if isinstance(error, KeyError) else error
