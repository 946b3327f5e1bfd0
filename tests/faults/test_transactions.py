"""exactly_once, as a consumer that reads while workers and broker come and go sees it.

T4 of docs/reliability.md.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pprm.catalogue.popularity import COLUMNS, Snapshot, encode_snapshot
from pprm.core.ids import stable_hash
from tests.faults.harness import (
    PRODUCTS,
    assert_clean,
    freshen,
    load,
    only_in_full,
    open_shop,
    supervised,
    until_ready,
)
from tests.integration.brokers import ApacheKafka, has_apache
from tests.integration.shop import PARTITIONS, Shop, Worker, product, purchase
from worker.cli import tail
from worker.kafka import embedded
from worker.settings import client_settings


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    if not has_apache():
        pytest.skip("PPRM_TEST_KAFKA names no Apache Kafka")
    kafka = ApacheKafka(tmp_path, embedded.free_port(2))
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture
def transactional(kafka: ApacheKafka, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(
        kafka.address, "shop", tmp_path, extra={"PPRM_DELIVERY": "exactly_once"}, is_apache=True
    )
    try:
        yield shop
    finally:
        shop.stop()


@asynccontextmanager
async def watching(shop: Shop) -> AsyncIterator[list[Any]]:
    """Lists as a read_committed consumer gets them, from now on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=shop.broker, isolation_level="read_committed", enable_auto_commit=False,
        auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    consumer.assign([TopicPartition(shop.topic("recommendations"), p) for p in range(PARTITIONS)])
    await consumer.seek_to_beginning()
    seen: list[Any] = []

    async def read() -> None:
        async for record in consumer:
            seen.append(json.loads(record.value))

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        await asyncio.sleep(2)
        task.cancel()
        await consumer.stop()


@only_in_full
def test_t4_bounced_workers_and_broker_repeat_nothing_to_a_reader(
    transactional: Shop, kafka: ApacheKafka
) -> None:
    """Bounce two workers, cleanly and hard, and the broker, under load, with a reader."""
    rng, shop = random.Random(4), transactional
    freshen(shop)

    async def story() -> None:
        await open_shop(shop)
        async with watching(shop) as seen, supervised(shop, "a") as a, supervised(shop, "b") as b:
            await until_ready(a())
            feeding = load(shop, events=8000, per_second=150)
            for number in range(6):
                await asyncio.sleep(rng.uniform(2, 5))
                worker = rng.choice([a, b])()
                worker.kill() if number % 2 else worker.process.terminate()
                if number == 3:
                    await asyncio.to_thread(kafka.stop)
                    await asyncio.to_thread(kafka.start)
            await feeding
            await assert_clean(shop, 90, exactly_once=True)
            lists = list(seen)
        assert len({made["recommendation_id"] for made in lists}) == len(lists)
        newest: dict[str, int] = {}
        for made in lists:
            assert made["version"] > newest.get(made["user_id"], -1)
            newest[made["user_id"]] = made["version"]

    asyncio.run(story())


@only_in_full
def test_t4_what_an_upstream_aborts_never_happened(transactional: Shop) -> None:
    """An upstream that uses transactions.

    Its markers are no holes, its aborted purchases are no purchases.
    """
    shop = transactional

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        async with AIOKafkaProducer(
            bootstrap_servers=shop.broker, transactional_id="upstream"
        ) as producer:
            await _abort_a_product_and_a_snapshot(shop, producer)
            for number in range(30):
                await producer.begin_transaction()
                for item in ("p1", "p2"):
                    at = f"2017-11-05T10:{number:02}:0{item[1]}Z"
                    key, value = purchase("ann", item, 100 * number + int(item[1]), at)
                    sent = await producer.send(
                        shop.topic("purchases"), key=key.encode(), value=json.dumps(value).encode()
                    )
                await (
                    producer.abort_transaction()
                    if number % 3 == 1
                    else producer.commit_transaction()
                )
                where = await sent if number % 3 != 1 else None
        assert where
        await shop.wait_for_answer(where, "ann")
        verdict = await assert_clean(shop, exactly_once=True)
        assert verdict.report["totals"]["inputs"] == 40
        assert worker.metric("pprm_offset_gaps_total") == 0, "markers cost no seek"
        await _never_happened(shop, worker)
        assert worker.terminate() == 0
        # which reads them from the beginning
        await _never_happened(shop, await until_ready(shop.start_worker()))

    asyncio.run(story())


DAY = 17_475
"""5 November 2017, since 1970."""
LOVED = 1e6
"""Purchases of the ghost, were it one: it would lead every list."""


async def _abort_a_product_and_a_snapshot(shop: Shop, producer: AIOKafkaProducer) -> None:
    """A product, and a snapshot by which everybody buys it; both are taken back."""
    hashes = np.array([stable_hash("ghost")], np.uint64)
    loved = Snapshot(DAY, hashes, np.full((1, COLUMNS), LOVED, np.float32))
    _, value = product(0, product_id="ghost")
    await producer.begin_transaction()
    await producer.send(shop.topic("products"), key=b"ghost", value=json.dumps(value).encode())
    await producer.send(
        shop.settings.popularity_topic, key=b"0", value=encode_snapshot(loved), partition=0
    )
    await producer.abort_transaction()


async def _never_happened(shop: Shop, worker: Worker) -> None:
    """Not in the catalogue, not in the popularity, not in what `pprm tail` prints."""
    assert worker.metric("pprm_catalogue_records_total") == PRODUCTS
    assert worker.metric("pprm_popularity_purchases") < LOVED
    assert not any("ghost" in json.dumps(made["items"]) for made in (await shop.lists()).values())
    seen = []
    async for record in tail.records(
        client_settings(shop.settings.kafka), shop.topic("products"), True
    ):
        seen.append(record.key)
        if len(seen) == PRODUCTS:
            break
    assert b"ghost" not in seen
