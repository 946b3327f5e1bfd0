"""Which lists are due, and which hold a product that was withdrawn: three ways to find them.

`python -m benchmarks.refresh [--quick] [--report FILE]`, some minutes; with --quick seconds.

arrays: what the worker does, a row a shopper (`worker.pipeline.lists_in_force`).
index: for each product a set of the shoppers whose lists hold it, and a heap of due times.
scan: nothing in memory, all states are read from RocksDB.

Each in a process of its own: memory, what a list costs when it is made, what it costs to find the
due, and to find who holds a product, a rare one and the one that most lists hold.
"""

import heapq
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.measure import median, show
from benchmarks.processes import MIB, alone, resident
from benchmarks.scale import shop, store
from pprm.core.ids import hash_of, stable_hash
from pprm.state import user_state
from pprm.state.user_state import UserState
from worker.pipeline.lists_in_force import ListsInForce

DAY = 86_400
START = 1_500_000_000
PERIOD, SESSION, K = DAY, 1800, 10
AT_ONCE = 500
"""Lists that are made together."""
TEMPLATES = 500
PASSES = 5
PRODUCTS = np.array([stable_hash(f"p{i}") for i in range(30_000)], np.uint64)
WHAT = ("memory_bytes", "us_per_list", "ms_due", "ms_rare", "ms_frequent")


class Way(Protocol):
    """One of the three."""

    def note(self, keys: list[bytes], states: list[UserState]) -> None:
        """Take in lists that were made."""

    def due(self, now: int, most: int) -> list[bytes]:
        """Whose lists are due."""
        ...

    def holding(self, product: int) -> int:
        """How many lists hold a product."""
        ...


class Arrays:
    """As the worker."""

    def __init__(self) -> None:
        self._lists = ListsInForce(K, PERIOD, SESSION)

    def note(self, keys: list[bytes], states: list[UserState]) -> None:
        """See `Way`."""
        self._lists.note(keys, states)

    def due(self, now: int, most: int) -> list[bytes]:
        """See `Way`."""
        return self._lists.due(now, 0, most)

    def holding(self, product: int) -> int:
        """See `Way`."""
        return self._lists.recall(np.array([product], np.uint64))


class Index:
    """Sets and a heap; entries of the heap that were overtaken are dropped when they are met."""

    def __init__(self) -> None:
        self._holders: dict[int, set[bytes]] = defaultdict(set)
        self._held: dict[bytes, tuple[int, tuple[int, ...]]] = {}
        self._heap: list[tuple[int, bytes]] = []

    def note(self, keys: list[bytes], states: list[UserState]) -> None:
        """See `Way`."""
        for key, state in zip(keys, states, strict=True):
            for product in self._held.get(key, (0, ()))[1]:
                self._holders[product].discard(key)
            at = _due(key, state)
            products = tuple(state.published_list().tolist())
            self._held[key] = at, products
            heapq.heappush(self._heap, (at, key))
            for product in products:
                self._holders[product].add(key)

    def due(self, now: int, most: int) -> list[bytes]:
        """See `Way`."""
        found: list[bytes] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            at, key = heapq.heappop(self._heap)
            if self._held[key][0] == at:
                found.append(key)
        return found

    def holding(self, product: int) -> int:
        """See `Way`."""
        return len(self._holders.get(product, ()))


class Scan:
    """A pass reads all states."""

    def __init__(self, directory: Path) -> None:
        self._table = store.open_table(directory)
        user_state.decode(user_state.encode(UserState()))  # compiled

    def note(self, keys: list[bytes], states: list[UserState]) -> None:
        """Write the states, which the worker does anyhow: it is no cost of this way."""
        values = {key: user_state.encode(state) for key, state in zip(keys, states, strict=True)}
        self._table.write(0, values, 0, 1)

    def due(self, now: int, most: int) -> list[bytes]:
        """See `Way`."""
        found = ((_due(key, state), key) for key, state in self._states())
        return [key for at, key in heapq.nsmallest(most, found) if at <= now]

    def holding(self, product: int) -> int:
        """See `Way`."""
        return sum(product in state.published_list() for _, state in self._states())

    def _states(self) -> Iterator[tuple[bytes, UserState]]:
        for key, value in self._table.scan(0):
            yield key, user_state.decode(value)


def _due(key: bytes, state: UserState) -> int:
    """See `pprm.state.freshness`: the next slot, for one."""
    return state.listed_at + 1 + (hash_of(key) - state.listed_at - 1) % PERIOD


def made(shoppers: int) -> Iterator[tuple[list[bytes], list[UserState]]]:
    """Keys and states of so many shoppers, by the batch, whose lists hold popular products."""
    rng = np.random.default_rng(1)
    templates = [shop.state_after(user, 10) for user in range(TEMPLATES)]
    weights = 1.0 / np.arange(10, 10 + len(PRODUCTS))
    steps = np.cumsum(weights / weights.sum())
    for start in range(0, shoppers, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, shoppers))
        drawn = np.searchsorted(steps, rng.random((len(numbers), K)))
        lists = PRODUCTS[np.minimum(drawn, len(PRODUCTS) - 1)]
        times = START + rng.integers(0, DAY, len(numbers))
        yield (
            [b"u%d" % number for number in numbers],
            [
                user_state.publish(replace(templates[number % TEMPLATES]), row, at)
                for number, row, at in zip(numbers, lists.tolist(), times.tolist(), strict=True)
            ],
        )


def measured(way: str, shoppers: int) -> dict[str, Any]:
    """The figures of one way; run it alone."""
    with TemporaryDirectory() as directory:
        ways: dict[str, Callable[[], Way]] = {
            "arrays": Arrays, "index": Index, "scan": partial(Scan, Path(directory)),
        }  # fmt: skip
        chosen, seconds = ways[way](), list[float]()
        next(made(1))
        chosen.due(0, 1)  # compiled
        before = resident()
        for keys, states in made(shoppers):
            began = perf_counter()
            chosen.note(keys, states)
            seconds.append((perf_counter() - began) / len(keys))
        memory = resident() - before
        passes = PASSES if way != "scan" else 1
        now = START + DAY // 2
        found: dict[str, Any] = {
            "memory_bytes": memory,
            "us_per_list": 1e6 * median(seconds[len(seconds) // 2 :]),
            "ms_due": _ms(lambda: chosen.due(now, 30), passes),
            "ms_rare": _ms(lambda: chosen.holding(int(PRODUCTS[-1])), passes),
            "ms_frequent": _ms(lambda: chosen.holding(int(PRODUCTS[0])), passes),
        }
        return found | {"holders_of_the_frequent": chosen.holding(int(PRODUCTS[0]))}


def _ms(work: Callable[[], object], passes: int) -> float:
    taken = []
    for _ in range(passes):
        began = perf_counter()
        work()
        taken.append(1e3 * (perf_counter() - began))
    return median(taken)


def codes(shoppers: int) -> NDArray[np.uint64]:
    """Hashes of so many shoppers, to be counted for how evenly a day is filled."""
    return np.array([hash_of(b"u%d" % number) for number in range(shoppers)], np.uint64)


def main(arguments: list[str]) -> None:
    """Measure and tell."""
    options = measure.parser(__doc__, rounds=1).parse_args(arguments)
    shoppers = 20_000 if options.quick else 1_000_000
    ways = {way: alone(measured, way, shoppers) for way in ("arrays", "index", "scan")}
    per_minute = np.bincount((codes(shoppers) % np.uint64(PERIOD)).astype(np.int64) // 60)
    spread = {"mean": float(per_minute.mean()), "most": int(per_minute.max())}
    show(
        f"{shoppers:,} lists of {K}",
        ("", "MiB", "us a list", "ms: the due", "ms: a rare product", "ms: the most frequent"),
        [
            (way, found["memory_bytes"] / MIB, *(float(found[name]) for name in WHAT[1:]))
            for way, found in ways.items()
        ],
    )
    report = {"ways": ways, "due_per_minute": spread, "environment": measure.environment()}
    measure.write(options.report, report)


if __name__ == "__main__":
    main(sys.argv[1:])
