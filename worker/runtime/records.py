"""One Faust message per partition and fetched range, instead of one per record."""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

import faust
from faust.transport.utils import DefaultSchedulingStrategy

MAX_RECORDS = 1000
"""Per range: bounds what one partition may hold up the others."""


class Fetched(NamedTuple):
    """Consecutive records of one partition and when they arrived (monotonic seconds)."""

    records: list[Any]
    arrived: float


class RecordRange:
    """A fetched range, dressed as the single record that Faust wants."""

    __slots__ = ("offset", "partition", "timestamp", "timestamp_type", "topic", "value")
    headers: tuple[()] = ()
    key = checksum = None
    serialized_key_size = serialized_value_size = 0

    def __init__(self, records: list[Any]) -> None:
        last = records[-1]
        self.topic, self.partition, self.offset = last.topic, last.partition, last.offset
        self.timestamp, self.timestamp_type = last.timestamp, last.timestamp_type
        self.value = Fetched(records, monotonic())


class RangeScheduler(DefaultSchedulingStrategy):  # type: ignore[misc]
    """Hands ranges of records over, round robin between partitions; filters nothing, the ledger decides."""

    def iterate(self, records: Mapping[Any, list[Any]]) -> Iterator[tuple[Any, RecordRange]]:
        """Yield (partition, range) until all records are out."""
        start, todo = 0, list(records.items())
        while todo:
            for tp, fetched in todo:
                yield tp, RecordRange(fetched[start : start + MAX_RECORDS])
            start += MAX_RECORDS
            todo = [(tp, fetched) for tp, fetched in todo if len(fetched) > start]


class RawSchema(faust.Schema):  # type: ignore[misc]
    """Passes records through: decoding is ours, so that bad bytes can neither stop nor overtake their neighbours."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return Faust's decode callback."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode
