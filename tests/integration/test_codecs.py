"""Every compression that Kafka knows: of producers, of other clients' producers, and of topics."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition

from schemas.families import READ
from tests.integration.shop import PARTITIONS, Shop, product, purchase
from tests.integration.test_kcat import kcat
from worker.kafka import batches, reader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PADDING = {"padding": "so long that compression pays " * 20}


def said_on(family: str, user: str, number: int) -> tuple[str, Any]:
    """A record of an input topic, of a shopper."""
    key, bought = purchase(user, "p1", number)
    at = bought["occurred_at"]
    event = {name: bought[name] for name in ("event_id", "user_id", "product_id", "occurred_at")}
    made: Mapping[str, tuple[str, Any]] = {
        "purchases": (key, bought | PADDING),
        "browses": (key, event | {"action": "view"} | PADDING),
        "reviews": (key, event | {"rating": 5} | PADDING),
        "users": (key, {"user_id": user, "attributes": {"age": "19-24"}} | PADDING),
        "requests": (
            key,
            {"request_id": f"r{number}", "user_id": user, "occurred_at": at} | PADDING,
        ),
        "products": product(number, **PADDING),
    }
    return made[family]


async def codecs_in(shop: Shop, topic: str, partitions: int = PARTITIONS) -> set[int]:
    """The codecs of the batches in a topic, as the broker keeps them."""
    seen, ours = set[int](), batches.uncompressed

    def spy(batch: memoryview) -> Any:
        seen.add(batch[22] & 7)
        return ours(batch)

    consumer = reader.consumer({"bootstrap_servers": shop.broker})
    batches.uncompressed = spy
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, p) for p in range(partitions)])
        await consumer.seek_to_beginning()
        while await consumer.getmany(timeout_ms=700):
            pass
    finally:
        await consumer.stop()
        batches.uncompressed = ours
    return seen


def test_every_codec_on_every_input_topic(shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        worker = shop.start_worker().wait_until_ready()
        for number, codec in enumerate(CODECS, start=20):
            for family in READ:
                (sent,) = await shop.publish(family, [said_on(family, f"u-{codec}", number)], codec)
                if family != "products":
                    await shop.wait_for_answer(sent, f"u-{codec}")
        assert await shop.read("dead_letters") == []
        for family in READ:
            assert await codecs_in(shop, shop.topic(family)) >= set(CODECS.values()), family
        async with asyncio.timeout(20):
            while worker.metric("pprm_catalogue_records_total") < 15 + len(CODECS):
                await asyncio.sleep(0.1)
        assert worker.metric("pprm_events_consumed_total") == 15 + len(CODECS) * len(READ)

    asyncio.run(story())


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_every_codec_of_librdkafka(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("librdkafka 2.0 cannot read the embedded broker's answer to ApiVersions")

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        shop.start_worker().wait_until_ready()
        for codec in CODECS:
            records = [said_on("purchases", f"{codec}{n}", n) for n in range(20)]
            lines = "".join(f"{key}|{json.dumps(value)}\n" for key, value in records)
            kcat(
                shop,
                "purchases",
                "-P",
                "-K",
                "|",
                "-z",
                codec,
                "-X",
                "topic.partitioner=murmur2_random",
                text=lines,
            )
            users = {key for key, _ in records}
            await shop.wait_for(
                "recommendations",
                lambda found, users=users: users <= {r.key.decode() for r in found},
            )
        assert await codecs_in(shop, shop.topic("purchases")) == set(CODECS.values())

    asyncio.run(story())


def test_every_codec_of_the_topics_themselves_with_restart_and_recovery(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("the embedded broker has no configuration of topics")

    async def story() -> None:
        settings = shop.settings
        topics = [*map(shop.topic, READ), settings.changelog, settings.popularity_topic]
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        worker = shop.start_worker(POPULARITY__SNAPSHOT_SECONDS="0.2").wait_until_ready()
        for number, codec in enumerate(CODECS):
            for topic in topics:
                await shop.configure(topic, compression_type=codec)
            for family in READ:
                (sent,) = await shop.publish(family, [said_on(family, "ann", number)])
                if family != "products":
                    await shop.wait_for_answer(sent, "ann")
            await asyncio.sleep(0.5)  # a snapshot of popularity is written
        assert await codecs_in(shop, settings.changelog) == set(CODECS.values())
        assert len(await codecs_in(shop, settings.popularity_topic, 1)) > 1
        assert worker.terminate() == 0
        await _goes_on(shop, 101)
        shutil.rmtree(shop.directory / "worker")
        await _goes_on(shop, 102)

    asyncio.run(story())


async def _goes_on(shop: Shop, number: int) -> None:
    """A worker that starts now knows all that was."""
    version = (await shop.lists())["ann"]["version"]
    worker = shop.start_worker().wait_until_ready()
    (sent,) = await shop.publish("purchases", [said_on("purchases", "ann", number)])
    assert (await shop.wait_for_answer(sent, "ann"))["version"] > version
    assert worker.terminate() == 0
