"""Writes rows of a table as CSV or parquet, some at a time."""

import csv
import gzip
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 8192
"""Rows of parquet in memory at a time."""
TYPES = {
    "occurred_at": pa.int64(), "quantity": pa.float64(), "price": pa.float64(),
    "dwell_seconds": pa.float64(),
    "rating": pa.float64(), "sentiment": pa.float64(), "available": pa.bool_(),
}  # fmt: skip
"""Of the columns that are not text."""


def write_table(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Write records, cells by column name, in the format that the file's name says.

    What is absent is left empty.
    """
    if path.suffix == ".parquet":
        _write_parquet(path, columns, records)
        return
    with (
        gzip.open(path, "wt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open("w", encoding="utf-8", newline="") as file
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)


def _write_parquet(
    path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]]
) -> None:
    schema = pa.schema([(column, TYPES.get(column, pa.string())) for column in columns])
    remaining = iter(records)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(remaining, BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
