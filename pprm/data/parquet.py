"""Rows of a parquet file, some at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pprm.data.files import Reading
from pprm.data.reading_report import TableError
from pprm.data.text_files import Check, check_names

BATCH = 8192
"""Rows in memory at a time."""


class ParquetRows:
    """A parquet file that is being read; see `files.Source`."""

    is_cut = False

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading, self.row = path, reading, 0

    def place(self) -> str:
        """Number of the row read last."""
        return f"row {self.row}"

    def note(self, error: Exception) -> None:
        """Something of the row read last is changed."""
        self.reading.report.changed(str(self.path), error, self.place())


def parquet_records(batches: ParquetRows, check: Check) -> Iterator[dict[str, Any]]:
    """The rows by column name.

    Raises:
        TableError: the file is damaged, or its columns are not as they must be.
    """
    path, size = batches.path, batches.path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            check_names(names)
            check(names)
            for batch in file.iter_batches(BATCH):
                for record in batch.to_pylist():
                    batches.row += 1
                    yield record
                batches.reading.advance(path, size * batches.row // file.metadata.num_rows)
    except (ValueError, OSError, pa.ArrowException) as error:
        where = f", after row {batches.row}" if batches.row else ""
        raise TableError(f"{path}{where}: {error}") from error
