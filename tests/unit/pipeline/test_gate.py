"""When events are answered, and when they wait in Kafka."""

import asyncio

import pytest
from structlog.testing import capture_logs

from worker.ops.health import Health
from worker.pipeline.gate import Gate


def test_events_wait_until_the_catalogue_is_read_and_has_something_to_recommend() -> None:
    health = Health()
    gate = Gate(health, answers_without_products=False)
    gate.count_available(3)
    assert not gate.is_open, "what is read so far is not all"
    gate.catalogue_is_read(0)
    assert not gate.is_open and health.catalogue_read and health.nothing_to_recommend
    gate.count_available(1)
    assert gate.is_open and not health.nothing_to_recommend
    asyncio.run(gate.wait())
    asyncio.run(gate.wait_for_catalogue())


def test_who_waits_for_an_empty_catalogue_is_not_let_through_for_a_moment() -> None:
    async def story() -> None:
        gate = Gate(Health(), answers_without_products=False)
        waiting = asyncio.create_task(gate.wait())
        await asyncio.sleep(0)
        gate.catalogue_is_read(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.count_available(1)
        await waiting

    asyncio.run(story())


def test_what_events_wait_for_is_logged_once_when_the_last_product_goes() -> None:
    gate = Gate(Health(), answers_without_products=False)
    with capture_logs() as lines:
        gate.catalogue_is_read(2)
        gate.count_available(0)
        gate.count_available(0)
    assert ["no product is available any more" in line["event"] for line in lines] == [True]
    assert not gate.is_open


def test_a_shop_may_answer_without_products() -> None:
    gate = Gate(Health(), answers_without_products=True)
    gate.catalogue_is_read(0)
    assert gate.is_open


@pytest.mark.parametrize("available", [0, 1])
def test_nothing_is_answered_that_cannot_be_written(available: int) -> None:
    health = Health()
    gate = Gate(health, answers_without_products=False)
    gate.catalogue_is_read(available)
    gate.can_write(False)
    assert not gate.is_open and health.nowhere_to_write
    gate.can_write(True)
    assert gate.is_open is bool(available)
