"""What a former owner writes to the changelog is found and written over."""

import asyncio
from typing import Any

import pytest

from tests.unit.pipeline.fakes import LOG, Broker, FixedOwnership, Table
from worker.ops import metrics
from worker.pipeline import states as module
from worker.pipeline.states import States
from worker.runtime.delivery import Append, Appends, Offsets, Ours, Rows
from worker.runtime.stream import MicroBatch

CHANGELOG = ("changelog", 3)
BATCH = MicroBatch(1, {}, {("purchases", 3): 9, ("products", 3): 5}, 0.0)


class Stored(Table):
    """Notes what is written with which offset, and what it covers."""

    def __init__(self) -> None:
        super().__init__({3: {b"ann": b"ours"}})
        self.next_append = {3: 100}
        self.written: list[tuple[int, dict[bytes, bytes], int]] = []
        self.covered: list[tuple[int, dict[str, tuple[int, int]]]] = []

    def write(self, partition: int, values: Any, offset: int, generation: int) -> None:
        self.written.append((partition, dict(values), offset))

    def cover(self, partition: int, covered: dict[str, tuple[int, int]]) -> None:
        self.covered.append((partition, covered))


class Appending(Broker):
    """Appends at offset 120."""

    async def write(self, unit: str, rows: Rows, offsets: Offsets, ours: Ours) -> Appends:
        await super().write(unit, rows, offsets, ours)
        return {tp: [Append(120, len(some))] for tp, some in rows.items()}


def states(
    table: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch, foreign: set[bytes]
) -> tuple[States, list[range]]:
    """The states of partition 3, and the offsets that were read back; they hold these keys."""
    read: list[range] = []

    async def foreign_keys(client: Any, tp: Any, offsets: range, generation: int) -> set[bytes]:
        read.append(offsets)
        return foreign

    monkeypatch.setattr(module.changelog, "foreign_keys", foreign_keys)
    ownership = FixedOwnership(1)
    ownership.take_over(frozenset({3}))
    made = States(
        "changelog", frozenset({"purchases"}), table, broker, ownership, {}, metrics.create()
    )
    return made, read


def test_states_are_stored_with_the_offset_and_the_input_that_they_cover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Stored()
    made, read = states(table, Appending(), monkeypatch, set())
    asyncio.run(made.store(BATCH, {3: {b"ann": b"new"}}, {CHANGELOG: [Append(100, 2)]}))
    assert table.written == [(3, {b"ann": b"new"}, 101)] and table.next_append == {3: 102}
    assert table.covered == [(3, {"purchases": (LOG, 9)})], "products are not keyed by shopper"
    assert not read, "nothing came between"


def test_what_came_between_our_appends_is_appended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table, broker = Stored(), Appending()
    made, read = states(table, broker, monkeypatch, {b"ann"})
    asyncio.run(made.store(BATCH, {}, {CHANGELOG: [Append(104, 1)]}))
    assert read == [range(100, 104)]
    ((unit, rows),) = broker.written
    ((key, value, _),) = rows[CHANGELOG]
    assert (unit, key, value) == ("3", b"ann", b"ours") and table.next_append == {3: 121}


def test_what_was_written_behind_our_last_append_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, broker = Stored(), Appending()
    made, read = states(table, broker, monkeypatch, {b"ann"})
    others, none_new = ("changelog", 1), {CHANGELOG: 100}
    asyncio.run(made.look_for_foreign_writes({others: 500} | none_new))
    assert not read and not broker.written
    asyncio.run(made.look_for_foreign_writes({CHANGELOG: 102}))
    assert read == [range(100, 102)] and len(broker.written) == 1


def test_nobody_can_write_between_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    table, broker = Stored(), Appending(commits_offsets=True)
    made, read = states(table, broker, monkeypatch, {b"ann"})
    asyncio.run(made.store(BATCH, {}, {CHANGELOG: [Append(104, 1)]}))
    asyncio.run(made.look_for_foreign_writes({CHANGELOG: 200}))
    assert not read and not broker.written
