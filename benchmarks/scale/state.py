"""How many bytes a shopper's state takes: real households, part by part, and what compression makes of them."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import rocksdict

from pprm import user_state
from pprm.datasets import complete_journey
from pprm.datasets.dataset import Dataset
from pprm.events import Interaction, Position, Profile
from pprm.fold import fold
from pprm.user_state import INTERACTION, UserState

GOAL = 1024
CHECKPOINTS = (1, 3, 10, 30, 100, 300, 1000)
"""Purchases after which a household's state is weighed."""
COMPRESSIONS = ("none", "snappy", "lz4", "zstd")
PARTS = ("watermarks", "sequence", "visits", "keys", "counters", "published", "text")
ONCE, AGAIN, SEEN = 8 + 4 + 2, 8 + 2 + 16 + 8 + 2 + 8, 2 + 4 + 1
"""Bytes in a denser layout without loss. A product bought once: key, time, basket. One bought again: key, count, four
decayed counters, two times, basket, ring. An interaction with a product that is there anyway: index, time, kind."""


def measure(households: int | None) -> dict[str, Any]:
    """Distribution over the households of Complete Journey at the end of their year (None: all of them)."""
    ids = complete_journey.household_ids()[:households]
    dataset = complete_journey.load(ids)
    weighed: dict[int, list[int]] = {number: [] for number in CHECKPOINTS}
    states = [_year(dataset, user, events, weighed) for user, events in _by_user(dataset)]
    values = [user_state.encode(state) for state in states]
    return {
        "households": len(states), "purchases": _spread([state.purchases for state in states]),
        "products": _spread([len(state.product_keys()) for state in states]),
        "bytes": _spread(list(map(len, values))), "within_goal": float(np.mean([len(v) <= GOAL for v in values])),
        "dense_bytes": _spread(list(map(dense, states))), "parts": _parts(states),
        "bought_once": float(np.mean(np.concatenate([s.product_counters()["count"] for s in states]) == 1)),
        "after_purchases": {number: _spread(found) for number, found in weighed.items() if found},
        "disk_bytes_per_user": {name: _on_disk(values, name) / len(values) for name in COMPRESSIONS},
    }  # fmt: skip


def _by_user(dataset: Dataset) -> Iterator[tuple[int, list[Interaction]]]:
    events = list(dataset.interactions(0, len(dataset.user)))
    order = np.argsort(dataset.user, kind="stable")
    first = np.searchsorted(dataset.user[order], np.arange(len(dataset.users) + 1)).tolist()
    for user in range(len(dataset.users)):
        yield user, [events[at] for at in order[first[user] : first[user + 1]].tolist()]


def _year(dataset: Dataset, user: int, events: Sequence[Interaction], weighed: Mapping[int, list[int]]) -> UserState:
    """A household's state after its purchases and a list of 10; on its way it is weighed at `CHECKPOINTS`."""
    state = fold(UserState(), [Profile(Position(3, 0, 0), 0, dataset.profile(dataset.users[user]))]).state
    state = user_state.publish(state, range(10))
    start = 0
    for stop in (*CHECKPOINTS, len(events)):
        if start < stop <= len(events):
            state, start = fold(state, events[start:stop]).state, stop
            if stop in weighed:
                weighed[stop].append(len(user_state.encode(state)))
    return state


def dense(state: UserState) -> int:
    """Bytes of the state in the denser layout, the rest as it is."""
    counts = state.product_counters()["count"]
    once = int((counts == 1).sum())
    known = int(np.isin(state.interactions()["product"], state.product_keys()).sum())
    saved_products = len(state.keys) + len(state.counters) - once * ONCE - (len(counts) - once) * AGAIN
    return len(user_state.encode(state)) - saved_products - known * (INTERACTION.size - SEEN)


def _parts(states: Sequence[UserState]) -> dict[str, float]:
    """Mean bytes of each part of the layout."""
    parts = {name: float(np.mean([len(getattr(state, name)) for state in states])) for name in PARTS}
    return {"header": float(user_state._HEADER.size), **parts}


def _on_disk(values: Iterable[bytes], compression: str) -> int:
    """Bytes of a RocksDB of these states, compacted."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_compression_type(getattr(rocksdict.DBCompressionType, compression)())
    with tempfile.TemporaryDirectory() as directory:
        db = rocksdict.Rdict(f"{directory}/db", options)
        for user, value in enumerate(values):
            db[b"%d" % user] = value
        db.flush()
        db.compact_range(None, None)
        size = int(db.property_int_value("rocksdb.total-sst-files-size"))
        db.close()
    return size


def _spread(values: Sequence[int]) -> dict[str, float]:
    middle, most = np.percentile(values, [50, 95])
    return {"median": float(middle), "p95": float(most), "max": float(max(values)), "mean": float(np.mean(values))}
