"""How many bytes a shopper's state takes.

Real shoppers, part by part, and what compression makes of them.

`python -m benchmarks.scale.state [DATASET FILE ...]`, datasets and their files as docs/data.md
lists them; without any, the households of Complete Journey, as in the whole `benchmarks.scale`.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rocksdict

from benchmarks.measure import show
from pprm.core.events import Interaction, Position, Profile
from pprm.data import DATASETS, complete_journey
from pprm.data.dataset import Dataset
from pprm.data.source import BUNDLED
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState

GOAL = 1024
CHECKPOINTS = (1, 3, 10, 30, 100, 300, 1000)
"""Events after which a shopper's state is weighed."""
COMPRESSIONS = ("none", "snappy", "lz4", "zstd")
PARTS = (
    "watermarks", "fingerprints", "sequence", "visits", "keys", "newest", "places", "again",
    "browsed_keys",
    "browsed_at", "look_places", "looks", "hidden", "published", "text",
)  # fmt: skip


def measure(households: int | None) -> dict[str, Any]:
    """Distribution over households of Complete Journey at the end of their year.

    `households` limits their number (None: all).
    """
    return weigh(complete_journey.load(complete_journey.household_ids()[:households]))


def weigh(dataset: Dataset) -> dict[str, Any]:
    """Distribution over the shoppers of a dataset at its end."""
    weighed: dict[int, list[int]] = {number: [] for number in CHECKPOINTS}
    states = [_year(dataset, user, events, weighed) for user, events in _by_user(dataset)]
    values = [user_state.encode(state) for state in states]
    return {
        "shoppers": len(states), "purchases": _spread([state.purchases for state in states]),
        "products": _spread([len(state.product_keys()) for state in states]),
        "bytes": _spread(list(map(len, values))),
        "within_goal": float(np.mean([len(v) <= GOAL for v in values])),
        "parts": _parts(states),
        "bought_once": float(
            np.mean(np.concatenate([s.product_counters()["count"] for s in states]) == 1)
        ),
        "after_events": {number: _spread(found) for number, found in weighed.items() if found},
        "disk_bytes_per_user": {name: _on_disk(values,
        name) / len(values) for name in COMPRESSIONS},
    }  # fmt: skip


def _by_user(dataset: Dataset) -> Iterator[tuple[int, list[Interaction]]]:
    events = list(dataset.interactions(0, len(dataset.user)))
    order = np.argsort(dataset.user, kind="stable")
    first = np.searchsorted(dataset.user[order], np.arange(len(dataset.users) + 1)).tolist()
    for user in range(len(dataset.users)):
        yield user, [events[at] for at in order[first[user] : first[user + 1]].tolist()]


def _year(
    dataset: Dataset, user: int, events: Sequence[Interaction], weighed: Mapping[int, list[int]]
) -> UserState:
    """A shopper's state after all events and a list of 10.

    On its way it is weighed at `CHECKPOINTS`.
    """
    state = fold(
        UserState(), [Profile(Position(3, 0, 0), 0, dataset.profile(dataset.users[user]))]
    ).state
    state = user_state.publish(state, range(10), 0)
    start = 0
    for stop in (*CHECKPOINTS, len(events)):
        if start < stop <= len(events):
            state, start = fold(state, events[start:stop]).state, stop
            if stop in weighed:
                weighed[stop].append(len(user_state.encode(state)))
    return state


def _parts(states: Sequence[UserState]) -> dict[str, float]:
    """Mean bytes of each part of the layout."""
    parts = {
        name: float(np.mean([len(getattr(state, name)) for state in states])) for name in PARTS
    }
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
    return {
        "median": float(middle),
        "p95": float(most),
        "max": float(max(values)),
        "mean": float(np.mean(values)),
    }


def render(name: str, found: Mapping[str, Any]) -> None:
    """Print the tables."""
    spreads = {
        "purchases": found["purchases"], "products": found["products"], "bytes": found["bytes"],
        **{f"bytes after {n} events": spread for n, spread in found["after_events"].items()},
    }  # fmt: skip
    names = ("median", "p95", "max", "mean")
    rows = [(what, *(f"{spread[name]:,.0f}" for name in names)) for what, spread in spreads.items()]
    within = (
        f"{found['within_goal']:.0%} within {GOAL} B,"
        f" {found['bought_once']:.0%} of products bought once"
    )
    show(f"State of {found['shoppers']:,} shoppers of {name}: {within}", ("", *names), rows)
    rows = [(f"{name}, mean bytes", f"{size:,.0f}") for name, size in found["parts"].items()]
    rows += [
        (f"on disk, {name}", f"{size:,.0f}") for name, size in found["disk_bytes_per_user"].items()
    ]
    show("What the bytes are, and what RocksDB makes of them", ("", "bytes per shopper"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?", choices=list(DATASETS), default=BUNDLED)
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path)
    options = parser.parse_args()
    render(options.dataset, weigh(DATASETS[options.dataset](*options.files)))


if __name__ == "__main__":
    main()
