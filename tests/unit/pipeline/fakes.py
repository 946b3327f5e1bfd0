"""Parts of the pipeline that answer what a test wants them to."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.structs import OffsetAndMetadata

from worker.ops.health import Health
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.model import Model
from worker.pipeline.ownership import Ownership
from worker.pipeline.past import Past
from worker.pipeline.stream_time import StreamTime
from worker.runtime.delivery import Appends, Limits, Offsets, Ours, Rows
from worker.runtime.ledger import TopicPartition
from worker.settings import Recommendations, Topics

LOG = 77
"""The number of every topic's log."""


class FixedOwnership(Ownership):
    """Owns what it is made with; of several epochs, each is asked for once."""

    def __init__(self, *epochs: int, partitions: int = 4, generation: int = 5) -> None:
        self._epochs, self._count, self._generation = list(epochs or (1,)), partitions, generation
        self._owned = frozenset()

    @property
    def epoch(self) -> int:
        return self._epochs.pop(0) if len(self._epochs) > 1 else self._epochs[0]

    @property
    def partitions(self) -> int:
        return self._count

    @property
    def generation(self) -> int:
        return self._generation

    def log_of(self, topic: str, partition: int) -> int:
        return LOG

    def positions(self) -> Mapping[TopicPartition, int]:
        return {}

    def commit_of(self, tp: TopicPartition, offset: int) -> OffsetAndMetadata:
        return OffsetAndMetadata(offset, "")


class Broker:
    """A delivery that keeps what is written, and says that it is appended at this offset."""

    def __init__(self, commits_offsets: bool = False) -> None:
        self.commits_offsets = commits_offsets
        self.limits: Limits = {}
        self.written: list[tuple[str, Rows]] = []
        self.owned: set[str] = set()

    async def own(self, units: Any) -> None:
        self.owned = set(units)

    async def ask_for_partitions(self) -> None:
        """There is nothing to ask."""

    async def write(self, unit: str, rows: Rows, offsets: Offsets, ours: Ours) -> Appends:
        self.written.append((unit, rows))
        return {}


class Table:
    """States by partition and key, in memory."""

    name = "user_state"

    def __init__(self, states: Mapping[int, Mapping[bytes, bytes]] | None = None) -> None:
        self.states = states or {}
        self.asked: list[Sequence[bytes]] = []

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked.append(keys)
        return [self.states.get(partition, {}).get(key) for key in keys]

    def scan(self, partition: int) -> Any:
        return iter(self.states[partition].items())


def lists_of(
    time: StreamTime | None = None,
    past: Past | None = None,
    *,
    are_known: bool = False,
    **chosen: Any,
) -> FreshLists:
    """Fresh lists by these settings of the section `recommendations`."""
    return FreshLists(
        Recommendations(**chosen), Topics(), time or StreamTime(), past or Past(),
        are_known=are_known,
    )  # fmt: skip


def model_of(recommender: Any) -> Model:
    """A model that is loaded."""
    made = Model(Health())
    asyncio.run(made.load(lambda: recommender))
    return made
