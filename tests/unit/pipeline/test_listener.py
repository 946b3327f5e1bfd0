"""What the runtime tells is counted, what it asks is answered by the pipeline."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from worker.ops import metrics
from worker.pipeline import publishing
from worker.pipeline.context import Components
from worker.pipeline.listener import Listener

FAMILIES = {"shop-purchases": "purchases", "shop-users": "users", "shop-products": "products"}


def listener() -> tuple[Listener, Any]:
    made = metrics.create(list(FAMILIES))
    return Listener(made, FAMILIES), made.registry.get_sample_value


def test_what_happens_in_the_runtime_is_counted() -> None:
    heard, value = listener()
    heard.on_gap("shop-users")
    heard.on_deleted("shop-purchases", 7)
    heard.on_other_log("shop-users")
    heard.on_quarantine()
    heard.on_commit(0.25)
    assert value("pprm_offset_gaps_total", {"topic": "shop-users"}) == 1
    assert value("pprm_events_deleted_total", {"topic": "shop-purchases"}) == 7
    assert value("pprm_topics_replaced_total", {"topic": "shop-users"}) == 1
    assert value("pprm_state_quarantines_total") == 1
    assert value("pprm_commit_duration_seconds_sum") == 0.25


def test_partitions_of_one_number_are_owned_together_and_the_changelogs_are_nobodys() -> None:
    owned: set[str] = set()

    async def own(units: Iterable[str]) -> None:
        owned.update(units)

    heard, _ = listener()
    app = SimpleNamespace(delivery=SimpleNamespace(own=own))
    heard.bind(SimpleNamespace(app=app, unit=Components.unit))  # type: ignore[arg-type]
    assigned = [("shop-purchases", 3), ("shop-users", 3), ("shop-products", 1), ("changelog", 3)]
    asyncio.run(heard.on_owned(assigned))
    assert owned == {"3", "products-1"}


def test_what_a_former_owner_wrote_over_is_appended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    appended: list[tuple[Any, int, list[bytes]]] = []

    async def append_again(c: Any, partition: int, keys: Iterable[bytes]) -> None:
        appended.append((c, partition, list(keys)))

    monkeypatch.setattr(publishing, "append_again", append_again)
    heard, _ = listener()
    with pytest.raises(AssertionError, match="bound"):
        asyncio.run(heard.on_overwritten(2, [b"a"]))
    bound: Any = object()
    heard.bind(bound)
    asyncio.run(heard.on_overwritten(2, [b"a"]))
    assert appended == [(bound, 2, [b"a"])]
