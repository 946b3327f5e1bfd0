"""The format of a file, recognised by its first bytes, not by its name.

Compressed files are read as a stream, in bounded memory.
"""

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pprm.data.reading_report import TableError

CHUNK = 1 << 16
"""Bytes decompressed at a time."""
MAX_LINE = 4 << 20
"""Bytes of a line. A longer line is cut to one byte more, so that its reader can refuse it."""
PARQUET = b"PAR1"
HEAD = 16
"""First bytes that say what a file is."""


def _arrow(codec: str) -> Callable[[BinaryIO], Any]:
    def decompress(raw: BinaryIO) -> Any:
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)

    return decompress


COMPRESSIONS: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    rb"\x1f\x8b": ("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    # the second: a frame to skip, as pzstd begins
    rb"\x28\xb5\x2f\xfd|\x50\x2a\x4d\x18": ("zstd", _arrow("zstd")),
    rb"\x04\x22\x4d\x18": ("lz4", _arrow("lz4")),
    rb"BZh[1-9]1AY&": ("bzip2", bz2.BZ2File),
    rb"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
"""Patterns of first bytes: name, and what reads the file."""
OTHERS = {
    PARQUET: "parquet: it is read as a table, and not inside another compression",
    b"PARE": "encrypted parquet: write it without encryption",
    rb"PK\x03\x04": "a zip archive or a spreadsheet (.xlsx): unpack it, or save it as CSV (UTF-8)",
    rb"\xd0\xcf\x11\xe0": "an Excel file (.xls): save it as CSV (UTF-8)",
    rb"7z\xbc\xaf": "a 7z archive: unpack it",
    rb"\xff\xfe|\xfe\xff": "text in UTF-16: save it as CSV (UTF-8)",
    rb"\x02\x21\x4c\x18": "lz4 in its old format: compress it anew, with gzip for instance",
    rb"ORC[\x00-\x1f]": "ORC: save it as CSV or parquet",
    rb"Obj\x01": "Avro: save it as CSV or parquet",
    rb"ARROW1\x00": "Arrow: save it as CSV or parquet",
    rb"SQLite format 3\x00": "an SQLite database: export its tables as CSV",
    rb"%PDF-": "a PDF",
}
"""What is no table, or not readable as it is."""
TAR = slice(257, 262)
_DAMAGE = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, OSError)
_TRUNCATED = "Truncated compressed stream"
"""pyarrow has no error of its own for it."""


def missing(path: Path) -> str:
    """Why a file cannot be read at all, in words; empty where it can."""
    if path.is_dir():
        return "is a directory: name the files in it, one by one"
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "is no regular file: save what it gives to one"
    return "" if os.access(path, os.R_OK) else "may not be read: look at its permissions"


def is_parquet(path: Path) -> bool:
    """Whether a file begins as parquet does."""
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def lines(path: Path, read: Callable[[int], None], cut: Callable[[], None]) -> Iterator[bytes]:
    """Lines of a text file, plain or compressed, with their ends.

    LF, CRLF, or CR where there is no LF at all.

    Args:
        path: the file.
        read: called with how many of its bytes are read.
        cut: called when compressed data ends before its end; the line in which that is is lost.

    Raises:
        TableError: it is no text, or its compressed data is damaged.
    """
    rest, end = b"", b""
    for chunk in _chunks(path, read):
        if chunk is None:
            cut()
            return
        end = end or (b"\r" if b"\r" in chunk and b"\n" not in chunk else b"\n")
        *whole, rest = (rest + chunk).split(end)
        yield from (line[: MAX_LINE + 1] + end for line in whole)
        rest = rest[: MAX_LINE + 1]
    if rest:
        yield rest


def _chunks(path: Path, read: Callable[[int], None]) -> Iterator[bytes | None]:
    """The file's content; None where it ends before its end."""
    done = 0
    try:
        with path.open("rb") as raw:
            name, stream = _stream(raw)
            while chunk := stream.read(CHUNK):
                if not done:
                    _refuse_others(path, chunk, name)
                done += len(chunk)
                yield chunk
                read(raw.tell())
        return
    except EOFError:
        pass
    except _DAMAGE as error:
        if _TRUNCATED not in str(error):
            raise TableError(
                f"{path}: it cannot be read ({error}): copy or download it again"
            ) from error
    yield _whole_before_the_break(path, done)
    yield None


def _whole_before_the_break(path: Path, done: int) -> bytes:
    """What can be unpacked behind `done` bytes of a truncated file.

    Read byte by byte: of a chunk that goes beyond the break, nothing is handed out.
    """
    found = bytearray()
    with path.open("rb") as raw, suppress(EOFError, *_DAMAGE):
        _, stream = _stream(raw)
        while done and (chunk := stream.read(min(done, CHUNK))):
            done -= len(chunk)
        while byte := stream.read(1):
            found += byte
    return bytes(found)


def _stream(raw: BinaryIO) -> tuple[str, Any]:
    head = raw.read(HEAD)
    raw.seek(0)
    for pattern, (name, decompress) in COMPRESSIONS.items():
        if re.match(pattern, head):
            return name, decompress(raw)
    return "", raw


def _refuse_others(path: Path, chunk: bytes, compression: str) -> None:
    twice = {
        pattern: f"{name} inside {compression}: unpack it once"
        for pattern, (name, _) in COMPRESSIONS.items()
    }
    for pattern, what in (OTHERS | twice).items():
        if re.match(pattern, chunk):
            raise TableError(f"{path}: this is {what}")
    if chunk[TAR] == b"ustar":
        raise TableError(f"{path}: this is a tar archive: unpack it")
