"""What is counted of the states, and published by whom."""

import asyncio
from collections.abc import Iterable
from typing import Any

from pprm.core.events import Interaction, Kind, Position
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from tests.unit.pipeline.fakes import FixedOwnership, Table, lists_of, model_of
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline.gate import Gate
from worker.pipeline.popularity import PopularityExchange, readable_states

EVENT = Interaction(Position(0, 0, 7), Kind.VIEW, 1, 1_500_000_000)
VALUE = user_state.encode(fold(UserState(), [EVENT]).state)


def test_a_damaged_state_does_not_end_the_count_of_the_others() -> None:
    table: Any = Table({0: {b"ann": VALUE, b"bob": b"damaged", b"cid": VALUE}})
    assert len(list(readable_states(table, 0))) == 2


class Popularity:
    """Writes down what it is to count."""

    def __init__(self) -> None:
        self.story: list[tuple[str, int, int]] = []

    def own(self, partition: int) -> None:
        self.story.append(("own", partition, 0))

    def disown(self, partitions: Iterable[int]) -> None:
        self.story += [("disown", partition, 0) for partition in partitions]

    def add_states(self, states: list[UserState], partition: int) -> None:
        self.story.append(("add", partition, len(states)))


class Recommender:
    def __init__(self) -> None:
        self.popularity = Popularity()


def test_what_is_new_is_counted_and_what_is_gone_left_to_its_next_owner() -> None:
    recommender, ownership = Recommender(), FixedOwnership()
    table: Any = Table({1: {b"ann": VALUE}, 2: {b"bob": VALUE, b"cid": VALUE}})
    lists = lists_of()
    exchange = PopularityExchange(
        topic="popularity", partitions=4, snapshot_seconds=1, client={}, table=table,
        model=model_of(recommender), lists=lists, ownership=ownership, gate=Gate(Health(), False),
        metrics=metrics.create(),
    )  # fmt: skip
    asyncio.run(exchange.take_over(frozenset({1})))
    asyncio.run(exchange.take_over(frozenset({2})))
    assert ownership.owned == {2}
    assert recommender.popularity.story == [
        ("own", 1, 0), ("add", 1, 1), ("disown", 1, 0), ("own", 2, 0), ("add", 2, 2),
    ]  # fmt: skip
    assert {partition: len(held) for partition, held in lists._partitions.items()} == {2: 2}
