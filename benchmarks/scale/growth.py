"""Cost per event as users, and as the history per user, grow."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from benchmarks.measure import median
from benchmarks.processes import bytes_below, resident
from benchmarks.scale import shop, store
from benchmarks.scale.shop import Record
from pprm.state import user_state
from pprm.state.user_state import UserState
from worker.runtime.table import BatchTable

HISTORY = 10
"""Purchases that each of many users has made."""
PROTOTYPES = 1000
"""Different histories; beyond that they repeat, under other keys."""
BATCH, BATCHES = 1000, 10
"""Events of a micro-batch, each of another user, and micro-batches of a round."""
FIRST_OFFSET = 1 << 32
TYPES, MAKERS = 1000, 3000
"""Of a made-up catalogue."""
SHOPPER = 100
"""Purchases of a shopper that a catalogue is ranked for."""


def users(number: int, rounds: int) -> dict[str, Any]:
    """Cost per event, memory and disk with so many users; run it in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        table, before = store.open_table(Path(directory)), resident()
        began = perf_counter()
        values = [
            user_state.encode(shop.state_after(user, HISTORY))
            for user in range(min(number, PROTOTYPES))
        ]
        store.fill(table, range(number), values)
        filled = perf_counter() - began
        found = _rounds(table, number, values, rounds)
        on_disk = bytes_below(Path(directory))
    return {
        "users": number, "fill_seconds": round(filled, 1), "us_per_event": found,
        "state_bytes": len(values[0]),
        "resident_bytes": resident(), "resident_bytes_before": before, "disk_bytes": on_disk,
    }  # fmt: skip


def history(levels: Sequence[int], users: int, rounds: int, rank: bool) -> list[dict[str, Any]]:
    """Cost per event, state bytes and milliseconds per list, as purchases per user grow.

    Every purchase is of any product there is: the worst case, a state fills up to its bound.
    """
    recommender = _recommender() if rank else None
    products = recommender.catalogue.ids if recommender else shop.PRODUCTS
    return [_history(purchases, users, rounds, products, recommender) for purchases in levels]


def _history(
    purchases: int, users: int, rounds: int, products: Sequence[str], recommender: Any
) -> dict[str, Any]:
    pool = len(products)
    states = [shop.state_after(user, purchases, products, pool) for user in range(min(users, 20))]
    values = list(map(user_state.encode, states))
    with tempfile.TemporaryDirectory() as directory:
        table = store.open_table(Path(directory))
        store.fill(table, range(users), values)
        found = _rounds(table, users, values, rounds, products, pool)
    return {
        "purchases": purchases, "products": len(states[0].product_keys()),
        "state_bytes": len(values[0]),
        "us_per_event": found,
        "ms_per_list": _milliseconds(recommender, states) if recommender else None,
    }  # fmt: skip


def _rounds(
    table: BatchTable, users: int, values: Sequence[bytes], rounds: int,
    products: Sequence[str] = shop.PRODUCTS,
    pool: int = shop.POOL,
) -> dict[str, float]:  # fmt: skip
    """Median of the rounds by stage.

    After each, the states it has changed are what they were before.
    """
    found, chosen, offsets = (
        [],
        shop.batches(users, min(users, BATCH), seed=users),
        count(FIRST_OFFSET),
    )
    for _ in range(rounds + 1):
        numbers = list(islice(chosen, BATCHES))
        found.append(
            store.cost(table, [_records(batch, offsets, products, pool) for batch in numbers])
        )
        store.fill(table, sorted({user for batch in numbers for user in batch}), values)
    # the first one warms up
    return {name: median([round_[name] for round_ in found[1:]]) for name in found[0]}


def _records(
    users: Sequence[int], offsets: Iterator[int], products: Sequence[str], pool: int
) -> list[Record]:
    return [
        shop.record(user, HISTORY + offset % 1000, offset, store.PARTITIONS, products, pool)
        for user, offset in zip(users, offsets, strict=False)
    ]


def _recommender() -> Any:
    """The worker's model with the catalogue of Complete Journey."""
    from pprm.data import complete_journey
    from worker.pipeline import recommender
    from worker.settings import Model

    loaded = recommender.load(Model(), 10)
    loaded.change(
        {product.product_id: product.to_catalogue() for product in complete_journey.load().products}
    )
    return loaded


def catalogue(products: int) -> dict[str, Any]:
    """Memory of a worker's model with so many products, and milliseconds per list.

    It runs in a process of its own.
    """
    from pprm.catalogue.catalogue import Product
    from worker.pipeline import recommender
    from worker.settings import Model

    loaded = recommender.load(Model(), 10)
    before = resident()
    made = [
        Product(
            f"p{i}",
            "",
            f"type {i % TYPES}",
            f"category {i % TYPES // 10}",
            f"maker {i % MAKERS}",
            True,
        )
        for i in range(products)
    ]
    loaded.change({product.product_id: product for product in made})
    del made
    ids = loaded.catalogue.ids
    taken = _milliseconds(
        loaded, [shop.state_after(user, SHOPPER, ids, len(ids)) for user in range(10)]
    )
    return {
        "products": products,
        "before_bytes": before,
        "resident_bytes": resident(),
        "ms_per_list": taken,
    }


def _milliseconds(recommender: Any, states: Sequence[UserState]) -> float:
    """CPU time of one list with all products ranked, median of the states, one at a time."""
    from worker.pipeline.recommender import Request

    taken = []
    for state in [states[0], *states]:
        began = thread_time()
        recommender.answer([], [Request(state, state.active_at)])
        taken.append((thread_time() - began) * 1e3)
    return median(taken[1:])  # the first one makes the catalogue's tables
