"""How much a micro-batch takes.

By time, so that the lists of a burst flow, and by size where there are none.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.test_order import TP, stream_of
from worker.runtime import stream as streams
from worker.runtime.records import MAX_RECORDS, Fetched
from worker.runtime.stream import MAX_BATCH, MIN_BATCH, allowance

TOOK = st.lists(st.tuples(st.integers(1, MAX_BATCH), st.floats(0, 1000)), max_size=3)


@given(TOOK, st.floats(0.01, 60))
def test_the_allowance_is_within_its_bounds_and_what_the_slowest_gets_done_in_time(
    took: Any, seconds: float
) -> None:
    records = allowance(took, seconds)
    assert MIN_BATCH <= records <= MAX_BATCH
    if records > MIN_BATCH:
        assert all(records * spent / n <= seconds * 1.001 for n, spent in took)


def sizes(burst: int, seconds: float, per_batch: float, per_record: Any) -> list[int]:
    """Records of the micro-batches of a burst that waits from the beginning.

    A clock that only work moves on.
    """
    batches, clock = [], [0.0]

    async def story() -> None:
        stream, _ = stream_of([], beginning=0)
        stream.app.consumer.ledger.assign({TP: 0})
        queue = stream.channel.queue
        queue._errors = ()
        for start in range(0, burst, MAX_RECORDS):
            end = min(start + MAX_RECORDS, burst)
            records = [SimpleNamespace(offset=offset) for offset in range(start, end)]
            message = SimpleNamespace(tp=TP, generation_id=1)
            queue.put_nowait(
                SimpleNamespace(message=message, value=Fetched(start, end, records, 0.0))
            )

        class Reading(type(stream)):  # type: ignore[misc]
            async def __aiter__(self) -> AsyncIterator[Any]:
                while not queue.empty():
                    self.current_event = queue.get_nowait()
                    yield None

        stream.__class__ = Reading
        async for batch in stream.micro_batches(seconds):
            records = batch.records[TP]
            batches.append(len(records))
            clock[0] += per_batch + sum(map(per_record, (record.offset for record in records)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streams, "monotonic", lambda: clock[0])
        asyncio.run(story())
    assert sum(batches) == burst
    return batches


def test_lists_of_a_burst_flow() -> None:
    found = sizes(4_000, 0.25, per_batch=0.01, per_record=lambda offset: 0.004)
    assert max(found) <= 60, "a quarter of a second of 4 ms each"
    found = sizes(8_000, 1.0, per_batch=0.01, per_record=lambda offset: 0.002)
    assert max(found) <= 500 and min(found[4:-1]) >= 400, "no smaller than they need be"


def test_a_backfill_which_asks_for_no_lists_goes_in_large_steps() -> None:
    found = sizes(40_000, 0.25, per_batch=0.01, per_record=lambda offset: 0.00002)
    assert found[4:-1] == [MAX_BATCH] * len(found[4:-1]) and len(found) <= 15


def test_where_lists_begin_one_step_is_too_large_and_the_next_is_not() -> None:
    begins = 20_000
    found = sizes(
        24_000, 0.25, 0.01, per_record=lambda offset: 0.002 if offset >= begins else 0.00002
    )
    at, late = 0, []
    for size in found:
        at += size
        late += [size] if at > begins + MAX_BATCH // 2 else []
    assert all(size <= 125 for size in late[1:])


def test_a_broker_that_was_away_is_forgotten_after_two_steps() -> None:
    assert allowance([(100, 70.0), (100, 0.01)], 0.25) == MIN_BATCH
    assert allowance([(100, 0.01), (100, 0.01)], 0.25) == 2_500


def test_what_is_left_of_a_range_is_not_taken_when_partitions_have_changed() -> None:
    ends: list[int] = []

    async def story() -> None:
        stream, _ = stream_of([(5, 305), (105, 305)], beginning=0)
        ledger = stream.app.consumer.ledger
        async for batch in stream.micro_batches(0.01):
            ends.append(batch.ends[TP])
            assert len(batch.records[TP]) <= MAX_BATCH
            if len(ends) == 1:
                ledger.revoke()
                ledger.assign({TP: 105})  # committed by somebody else meanwhile

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streams, "monotonic", lambda: 0.0)
        patched.setattr(streams, "MAX_BATCH", 100)
        asyncio.run(story())
    assert ends == [37, 205, 305], (
        "the rest of the first range was dropped, and what came again was cut anew"
    )
