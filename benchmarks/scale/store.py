"""Cost per event of decode, fold, codec and RocksDB in one process without a broker.

All are the worker's own. Kafka and scoring are left out: they cost the same however many shoppers
there are. The table is used as in `worker.pipeline.pipeline`: one multi-get and one WriteBatch per
partition and micro-batch, no shopper twice in a batch.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from time import perf_counter, process_time, thread_time

from benchmarks.scale.shop import Record
from pprm.core.events import Event
from pprm.state import user_state
from pprm.state.fold import fold
from worker.pipeline import codec
from worker.runtime import app as runtime
from worker.runtime.app import StateTable
from worker.runtime.delivery import AtLeastOnce
from worker.runtime.listener import Nobody
from worker.runtime.table import BatchTable

STAGES = ("decode", "read", "fold", "encode", "write")
PARTITIONS = 4
CLIENT = {"bootstrap_servers": "127.0.0.1:9"}
FILL = 4000
"""Shoppers per write when a table is filled."""
NOW = 4e9
"""A clock that refuses no event as future."""


def open_table(directory: Path, partitions: int = PARTITIONS) -> BatchTable:
    """The worker's table, of an app that is never started."""
    app = runtime.create(
        "scale", CLIENT, directory, table=StateTable("user_state", partitions), keyed=frozenset(),
        listener=Nobody(), delivery=AtLeastOnce(CLIENT), accepts_lost_states=False,
        session_timeout=20, commit_interval=1, instance_id=None,
    )  # fmt: skip
    return app.state_table


def fill(table: BatchTable, users: Iterable[int], values: Sequence[bytes]) -> None:
    """Write states: shopper i gets value i modulo their number."""
    users = iter(users)
    while chunk := list(islice(users, FILL)):
        for partition, group in _by_partition(chunk).items():
            table.write(
                partition, {b"u%d" % user: values[user % len(values)] for user in group}, 0, 1
            )


def _by_partition(users: Iterable[int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for user in users:
        groups.setdefault(user % PARTITIONS, []).append(user)
    return groups


def micro_batch(table: BatchTable, records: Sequence[Record]) -> list[float]:
    """Seconds of CPU time of each of `STAGES`: other loads of the machine do not show in it."""
    marks = [thread_time()]
    shoppers: dict[int, dict[bytes, list[Event]]] = {}
    for record in records:
        decoded = codec.decode("purchases", record, NOW)
        assert isinstance(decoded, codec.Decoded), decoded
        shoppers.setdefault(record.partition, {}).setdefault(record.key, []).append(decoded.event)
    marks.append(thread_time())
    held = {p: table.get_many(p, list(group)) for p, group in shoppers.items()}
    marks.append(thread_time())
    states = {
        p: [
            fold(user_state.decode(v), e).state
            for v, e in zip(held[p], group.values(), strict=True)
        ]
        for p, group in shoppers.items()
    }
    marks.append(thread_time())
    values = {
        p: dict(zip(group, map(user_state.encode, states[p]), strict=True))
        for p, group in shoppers.items()
    }
    marks.append(thread_time())
    for partition, updates in values.items():
        table.write(partition, updates, records[-1].offset, 1)
    marks.append(thread_time())
    return [end - start for start, end in pairwise(marks)]


def cost(table: BatchTable, batches: Sequence[Sequence[Record]]) -> dict[str, float]:
    """Microseconds per event.

    CPU time by stage, their sum, with RocksDB's own threads (`cpu`), and what passed.
    """
    events = sum(map(len, batches))
    cpu, began = process_time(), perf_counter()
    seconds = [micro_batch(table, batch) for batch in batches]
    wall, cpu = perf_counter() - began, process_time() - cpu
    stages = {
        name: sum(column) / events * 1e6
        for name, column in zip(STAGES, zip(*seconds, strict=True), strict=True)
    }
    return {
        **stages,
        "all": sum(stages.values()),
        "cpu": cpu / events * 1e6,
        "wall": wall / events * 1e6,
    }
