"""The broker crashes, goes away or hangs: T5, T6 of docs/reliability.md."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.faults.harness import (
    assert_clean,
    load,
    only_in_full,
    open_shop,
    until_busy,
    until_ready,
)
from tests.integration.brokers import ApacheKafka, has_apache
from tests.integration.shop import Shop, purchase
from worker.kafka import embedded

DOWN_SECONDS = 70
BACK_WITHIN_SECONDS = 120


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """Apache Kafka of the test's own, since it is killed."""
    if not has_apache():
        pytest.skip("PPRM_TEST_KAFKA names no Apache Kafka")
    kafka = ApacheKafka(tmp_path, embedded.free_port(2))
    try:
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture
def own_shop(kafka: ApacheKafka, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(kafka.address, "shop", tmp_path, is_apache=True)
    try:
        yield shop
    finally:
        shop.stop()


@only_in_full
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_t5_the_broker_is_killed_and_comes_back(
    own_shop: Shop, kafka: ApacheKafka, delivery: str
) -> None:
    """kill -9 of the broker, twice, with its log on disk."""

    async def story() -> None:
        kafka.start()
        own_shop.extra["PPRM_DELIVERY"] = delivery
        await open_shop(own_shop)
        await until_ready(own_shop.start_worker())
        feeding = load(own_shop, events=3000, per_second=150)
        await until_busy(own_shop)
        for _ in range(2):
            kafka.kill()
            await asyncio.to_thread(kafka.start)
            await asyncio.sleep(6)
        await feeding
        verdict = await assert_clean(
            own_shop, BACK_WITHIN_SECONDS, exactly_once=delivery == "exactly_once"
        )
        assert delivery == "at_least_once" or verdict["duplicate_output"] == 0

    asyncio.run(story())


@only_in_full
def test_t6_the_broker_is_down_for_longer_than_any_timeout(
    own_shop: Shop, kafka: ApacheKafka
) -> None:
    """Down at the start, then down for 70 s under load.

    The same process waits, and all is delivered afterwards.
    """

    async def story() -> None:
        kafka.start()
        await open_shop(own_shop)
        kafka.stop()
        worker = own_shop.start_worker()
        await asyncio.to_thread(worker.wait_until_live)
        await asyncio.sleep(10)
        assert worker.alive and worker.get("/live")[0] == 200
        kafka.start()
        await until_ready(worker)
        feeding = load(own_shop, events=2000, per_second=100)
        await until_busy(own_shop)
        kafka.kill()
        await asyncio.sleep(DOWN_SECONDS)
        assert worker.alive, worker.tail()
        assert worker.get("/live")[0] == 200, "an absent broker is no reason to restart"
        await asyncio.to_thread(kafka.start)
        back = time.monotonic()
        await feeding
        await assert_clean(own_shop, BACK_WITHIN_SECONDS)
        assert time.monotonic() - back < BACK_WITHIN_SECONDS
        assert worker.alive, "the same process"

    asyncio.run(story())


def test_what_retention_took_is_counted_and_the_rest_is_processed(shop: Shop) -> None:
    """The worker was away for longer than the topic keeps its events."""
    if not shop.is_apache:
        pytest.skip("the embedded broker deletes no records")

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        tp = TopicPartition(shop.topic("purchases"), 0)
        async with shop.producer() as producer:

            async def buy(user: str, number: int) -> Any:
                key, value = purchase(user, "p1", number)
                return await producer.send_and_wait(
                    tp.topic, key=key.encode(), value=json.dumps(value).encode(), partition=0
                )

            await shop.wait_for_answer(await buy("ann", 0), "ann")
            assert await asyncio.to_thread(worker.terminate) == 0
            for number in range(40):
                last = await buy("bob", 1 + number)
        admin = AIOKafkaAdminClient(bootstrap_servers=shop.broker)
        await admin.start()
        await admin.delete_records({tp: RecordsToDelete(last.offset - 9)})
        await admin.close()
        worker = await until_ready(shop.start_worker())
        await shop.wait_for_answer(last, "bob")
        assert worker.metric("pprm_events_deleted_total") == 30
        assert "are gone from the broker" in worker.log.read_text()

    asyncio.run(story())


@only_in_full
def test_t6_the_embedded_broker_hangs(tmp_path: Path) -> None:
    """SIGSTOP for 10 s, twice: it keeps all in memory, so it cannot be killed."""

    async def story(shop: Shop, pid: int) -> None:
        await open_shop(shop)
        await until_ready(shop.start_worker())
        feeding = load(shop, events=3000, per_second=150)
        await until_busy(shop)
        for _ in range(2):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(10)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(3)
        await feeding
        await assert_clean(shop)

    with embedded.process() as (address, process):
        shop = Shop(address, "shop", tmp_path)
        try:
            asyncio.run(story(shop, process.pid))
        finally:
            os.kill(process.pid, signal.SIGCONT)
            shop.stop()
