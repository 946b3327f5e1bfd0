"""Rows of text files: CSV, and JSON lines.

A row that cannot be read is a value, `Unusable`, and the next one follows.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from pprm.data import formats
from pprm.data.files import CUT, Reading
from pprm.data.reading_report import TableError, Unusable

QUOTE = (
    "a text in double quotes begins here that does not"
    " end: close it, and double the quotes within it"
)
NOT_UTF8 = (
    "not UTF-8: Latin-1 or Windows-1252, as older programs save it? Convert the file, e.g. by"
    " iconv -f WINDOWS-1252 -t UTF-8"
)
LONG = f"a line of more than {formats.MAX_LINE >> 20} MiB"

Check = Callable[[Sequence[str]], None]
"""Of the names of the columns; raises ValueError where one is missing or unknown."""


class Lines:
    """The lines of a UTF-8 text file.

    Reading goes on after a line that cannot be read, and can go back to lines.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading, self.is_cut = path, reading, False
        self._lines = formats.lines(
            path, lambda done: reading.advance(path, done), self._broken_off
        )
        self._number = 0
        self._taken: list[bytes] = []
        self._again: list[bytes] = []

    def place(self) -> str:
        """Number of the line with which the record read last begins."""
        return f"line {self._number - max(len(self._taken), 1) + 1}"

    def note(self, error: Exception) -> None:
        """See `files.Source`."""
        self.reading.report.changed(str(self.path), error, self.place())

    def begin(self) -> None:
        """What follows is a new record."""
        self._taken.clear()

    def only_first(self) -> bool:
        """Let the record be its first line only, and the others be read once more.

        False where it is already.
        """
        again = self._taken[1:]
        del self._taken[1:]
        self._again += again[::-1]
        self._number -= len(again)
        self.is_cut = self.is_cut and not again
        return bool(again)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self._number += 1
        self._taken.append(line)
        self.is_cut = not line.endswith((b"\n", b"\r"))
        if len(line) > formats.MAX_LINE:
            raise Unusable(LONG)
        try:
            return line.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Unusable(NOT_UTF8, f"byte {error.object[error.start]:#x}") from error

    def _broken_off(self) -> None:
        """Compressed data ended before its end: the row in which that is is lost."""
        if not self._number:
            raise TableError(
                f"{self.path}: it is broken off, and nothing of it can be unpacked:"
                " copy or download it again"
            )
        self.is_cut = True
        report = self.reading.report
        report.part(str(self.path)).read += 1
        report.unusable(str(self.path), Unusable(CUT), f"line {self._number + 1}")


def csv_records(
    lines: Lines, check: Check = lambda names: None, header: Sequence[str] | None = None
) -> Iterator[dict[str, str] | Unusable]:
    """Rows of a CSV file by column name; the names are in its first row unless they are given.

    Raises:
        TableError: the header is not as it must be.
    """
    reader = csv.reader(lines, strict=True)
    names = list(header) if header is not None else _header(lines, reader, check)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except Unusable as error:
            lines.only_first()
            yield error
        except csv.Error as error:
            yield Unusable(QUOTE) if lines.only_first() else Unusable(f"no CSV: {error}")
        else:
            if len(fields) == len(names):
                yield dict(zip(names, fields, strict=True))
            elif fields:
                yield Unusable(QUOTE) if lines.only_first() else _uneven(len(fields), len(names))


def _uneven(values: int, columns: int) -> Unusable:
    return Unusable(
        f"{values} values for {columns} columns; put text that"
        " holds commas or line breaks into double quotes"
    )


def _header(lines: Lines, reader: Iterator[list[str]], check: Check) -> list[str]:
    try:
        names = next(filter(None, reader), None)
        if names is not None:
            check_names(names)
            check(names)
    except TableError:  # the file cannot be read: it says which
        raise
    except (ValueError, csv.Error) as error:
        raise TableError(f"{lines.path}, {lines.place()}: {error}") from error
    return names or []


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError where names of columns are equal, or are not separated by commas."""
    if len(names) == 1 and (found := next((c for c in ";\t|" if c in names[0]), "")):
        what = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}[found]
        raise ValueError(
            f"the columns are separated by {what}: save the table with commas between them"
        )
    if "" in names:
        raise ValueError(
            f"column {list(names).index('') + 1} has no name: name"
            " it, or leave it out (pandas: to_csv(index=False))"
        )
    if repeated := sorted({name for name in names if list(names).count(name) > 1}):
        raise ValueError(f"two columns have the same name: {', '.join(repeated)}")


def needs(*columns: str) -> Check:
    """A check that these columns are there; others may be, too."""

    def check(names: Sequence[str]) -> None:
        for column in columns:
            if column not in names:
                raise ValueError(
                    f"there is no column {column!r}{like(column, names)}: there are"
                    f" {', '.join(names)}"
                )

    return check


def like(name: str, known: Sequence[str]) -> str:
    """Ask whether a name may be meant to be a known one.

    The question is put after the known name. It is empty where none is like it.
    """
    close = get_close_matches(name.strip().lower(), known, n=1, cutoff=0.75)
    return f" (is it {close[0]!r}?)" if close else ""


def json_records(lines: Lines) -> Iterator[Mapping[str, Any] | Unusable]:
    """Objects of a file of JSON lines."""
    while True:
        lines.begin()
        try:
            line = next(lines)
            record = orjson.loads(line) if line.strip() else None
        except StopIteration:
            return
        except orjson.JSONDecodeError as error:
            yield Unusable(f"no JSON: {error.msg}")
        except Unusable as error:
            yield error
        else:
            if isinstance(record, dict):
                yield record
            elif record is not None or line.strip():
                yield Unusable("a line must be one JSON object")
