"""From what a fetch returned to Faust messages: one per partition and fetched range, instead of one per record."""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

import aiokafka.consumer.fetcher as fetcher
import faust
from faust.transport.utils import DefaultSchedulingStrategy
from msgspec import Struct

MAX_RECORDS = 100
"""Per range: bounds what one partition may hold up the others, and what a micro-batch takes beyond its time."""


class Fetched(NamedTuple):
    """Consecutive records of one partition and when they arrived (monotonic seconds)."""

    start: int
    """Where the fetch began: between it and the first record the log holds nothing (compacted, transaction markers)."""
    end: int
    """Where the next fetch goes on: between the last record and it the log holds nothing."""
    records: list[Any]
    arrived: float


class Run(list[Any]):
    """Records of one partition that a fetch returned, and the positions before and after it."""

    def __init__(self, start: int, end: int, records: list[Any]) -> None:
        self.start, self.end = start, end
        super().__init__(records)


class Record(Struct, gc=False):
    """A record as aiokafka's looks, without what nobody asks for; the garbage collector leaves out those that wait."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Unix milliseconds."""
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class RunRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of a fetch, as `Record`."""

    def __iter__(self) -> Iterator[Record]:
        return self._records_iterator  # type: ignore[no-any-return]  # without a call for each record

    def _consumer_record(self, tp: Any, record: Any) -> Record:
        return Record(
            tp.topic, tp.partition, record.offset, record.timestamp, record.timestamp_type, record.key, record.value,
            tuple(record.headers),
        )  # fmt: skip


class RunResult(fetcher.FetchResult):  # type: ignore[misc]
    """aiokafka's fetch result, which also says where it began, so that a compacted log is told from a lost record."""

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return all records fetched, as a `Run`."""
        part, assignment = self._partition_records, self._assignment
        if part is None or not assignment.active:
            return super().getall(max_records)  # type: ignore[no-any-return]
        state, start = assignment.state_value(self._topic_partition), part.next_fetch_offset
        in_order = state.has_valid_position and state.position == start
        began, ended = getattr(state, "markers", _NONE)
        began = began if ended == start else start
        records = super().getall(max_records)
        # A fetch of nothing but transaction markers or aborted records: the next run begins where this one did.
        state.markers = _NONE if records or not in_order else (began, state.position)
        return Run(began, state.position, records) if records else []


_NONE = (-1, -1)


def only_markers(state: Any, offset: int) -> bool:
    """Whether all that was fetched of a partition from an offset on were transaction markers, or aborted records."""
    began, ended = getattr(state, "markers", _NONE)
    return bool(began <= offset and ended == state.position)


class RecordRange:
    """A fetched range, dressed as the single record that Faust wants."""

    __slots__ = ("offset", "partition", "timestamp", "timestamp_type", "topic", "value")
    headers: tuple[()] = ()
    key = checksum = None
    serialized_key_size = serialized_value_size = 0

    def __init__(self, start: int, end: int, records: list[Any]) -> None:
        last = records[-1]
        self.topic, self.partition, self.offset = last.topic, last.partition, last.offset
        self.timestamp, self.timestamp_type = last.timestamp, last.timestamp_type
        self.value = Fetched(start, end, records, monotonic())


class RangeScheduler(DefaultSchedulingStrategy):  # type: ignore[misc]
    """Hands ranges of records over, round robin between partitions; filters nothing, the ledger decides."""

    def iterate(self, records: Mapping[Any, Run]) -> Iterator[tuple[Any, RecordRange]]:
        """Yield (partition, range) until all records are out."""
        at, todo = 0, list(records.items())
        while todo:
            for tp, run in todo:
                part, last = run[at : at + MAX_RECORDS], at + MAX_RECORDS >= len(run)
                start = run[at - 1].offset + 1 if at else run.start
                yield tp, RecordRange(start, run.end if last else part[-1].offset + 1, part)
            at += MAX_RECORDS
            todo = [(tp, run) for tp, run in todo if len(run) > at]


class RawSchema(faust.Schema):  # type: ignore[misc]
    """Passes records through: decoding is ours, so that bad bytes can neither stop nor overtake their neighbours."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return Faust's decode callback."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


def install() -> None:
    """Have aiokafka's consumers return runs of our records; it has no setting for it."""
    fetcher.FetchResult = RunResult
    fetcher.PartitionRecords = RunRecords
