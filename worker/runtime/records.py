"""Makes Faust messages of what a fetch returned.

There is one message per partition and fetched range, instead of one per record.
"""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

import faust
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from worker.kafka.batches import Record
from worker.kafka.reader import Run

MAX_RECORDS = 1000
"""Records of a range: a longer one would keep the other partitions waiting."""


class Fetched(NamedTuple):
    """Consecutive records of one partition and when they arrived (monotonic seconds)."""

    start: int
    """Where the fetch began; up to the first record the log may hold only markers, or nothing."""
    end: int
    """Where the next fetch goes on: between the last record and it the log holds nothing."""
    records: list[Record]
    arrived: float

    def cut(self, records: int) -> tuple["Fetched", "Fetched"]:
        """Return the first so many records and the others, as two ranges; neither may be empty."""
        head, rest = self.records[:records], self.records[records:]
        middle = head[-1].offset + 1
        return Fetched(self.start, middle, head, self.arrived), Fetched(
            middle, self.end, rest, self.arrived
        )

    size: int = 0
    """Bytes, about."""


class RecordRange:
    """A fetched range in the form of the single record that Faust expects."""

    __slots__ = ("offset", "partition", "timestamp", "timestamp_type", "topic", "value")
    headers: tuple[()] = ()
    key = checksum = None
    serialized_key_size = serialized_value_size = 0

    def __init__(self, start: int, end: int, records: list[Record], size: int = 0) -> None:
        last = records[-1]
        self.topic, self.partition, self.offset = last.topic, last.partition, last.offset
        self.timestamp, self.timestamp_type = last.timestamp, last.timestamp_type
        self.value = Fetched(start, end, records, monotonic(), size)


class RangeScheduler(DefaultSchedulingStrategy):  # type: ignore[misc]
    """Hands ranges of records over, round robin between partitions.

    It filters nothing: the ledger decides.
    """

    def iterate(self, records: Mapping[TP, Run]) -> Iterator[tuple[TP, RecordRange]]:
        """Yield (partition, range) until all records are out."""
        at, todo = 0, list(records.items())
        while todo:
            for tp, run in todo:
                part, last = run[at : at + MAX_RECORDS], at + MAX_RECORDS >= len(run)
                start = run[at - 1].offset + 1 if at else run.start
                end, size = (
                    run.end if last else part[-1].offset + 1,
                    run.size * len(part) // len(run),
                )
                yield tp, RecordRange(start, end, part, size)
            at += MAX_RECORDS
            todo = [(tp, run) for tp, run in todo if len(run) > at]


class RawSchema(faust.Schema):  # type: ignore[misc]
    """Passes records through.

    We decode ourselves, so that bad bytes can neither stop nor overtake their neighbours.
    """

    def compile(self, app: Any, **_: Any) -> Any:
        """Return Faust's decode callback."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode
