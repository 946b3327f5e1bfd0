"""What the runtime reports is counted, what it asks is answered by the pipeline."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from tests.unit.pipeline.fakes import Broker
from worker.ops import metrics
from worker.pipeline.listener import Listener

FAMILIES = {"shop-purchases": "purchases", "shop-users": "users", "shop-products": "products"}


def test_what_happens_in_the_runtime_is_counted() -> None:
    made = metrics.create(list(FAMILIES))
    listener, value = Listener(made, FAMILIES, Broker()), made.registry.get_sample_value
    listener.on_gap("shop-users")
    listener.on_deleted("shop-purchases", 7)
    listener.on_other_log("shop-users")
    listener.on_quarantine()
    listener.on_commit(0.25)
    assert value("pprm_offset_gaps_total", {"topic": "shop-users"}) == 1
    assert value("pprm_events_deleted_total", {"topic": "shop-purchases"}) == 7
    assert value("pprm_topics_replaced_total", {"topic": "shop-users"}) == 1
    assert value("pprm_state_quarantines_total") == 1
    assert value("pprm_commit_duration_seconds_sum") == 0.25


def test_partitions_of_one_number_are_owned_together_and_the_changelogs_are_nobodys() -> None:
    broker = Broker()
    listener = Listener(metrics.create(), FAMILIES, broker)
    assigned = [("shop-purchases", 3), ("shop-users", 3), ("shop-products", 1), ("changelog", 3)]
    asyncio.run(listener.on_owned(assigned))
    assert broker.owned == {"3", "products-1"}


def test_what_a_former_owner_wrote_over_is_appended_again() -> None:
    class States:
        def __init__(self) -> None:
            self.appended: list[tuple[int, list[bytes]]] = []

        async def append_again(self, partition: int, keys: Iterable[bytes]) -> None:
            self.appended.append((partition, list(keys)))

    listener = Listener(metrics.create(), FAMILIES, Broker())
    with pytest.raises(AssertionError, match="bound"):
        asyncio.run(listener.on_overwritten(2, [b"a"]))
    states: Any = States()
    listener.bind(states)
    asyncio.run(listener.on_overwritten(2, [b"a"]))
    assert states.appended == [(2, [b"a"])]
