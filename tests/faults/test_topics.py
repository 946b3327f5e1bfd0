"""Topics that are deleted, created again or enlarged, and offsets that do not fit."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.structs import OffsetAndMetadata

from tests.faults.harness import (
    PRODUCTS,
    assert_clean,
    load,
    only_in_full,
    open_shop,
    supervised,
    until_ready,
)
from tests.faults.oracle.state import parse_version
from tests.integration.shop import PARTITIONS, Shop, Worker, product, purchase
from worker.kafka import topics
from worker.runtime import metadata
from worker.settings import client_settings

SHOPPERS = [f"s{i}" for i in range(6)]


@pytest.fixture(autouse=True)
def _apache_only(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip(
            "the embedded broker keeps the offsets of deleted topics, and has no partitions to add"
        )


async def with_admin(shop: Shop, ask: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.broker)
    await admin.start()
    try:
        return await ask(admin)
    finally:
        await admin.close()


async def delete(shop: Shop, *families: str) -> None:
    names = [shop.topic(family) for family in families]
    await with_admin(shop, lambda admin: admin.delete_topics(names))
    async with metadata.connected({"bootstrap_servers": shop.broker}) as client:
        while await metadata.describe(client, names):
            await asyncio.sleep(0.1)


async def create(shop: Shop) -> None:
    """All that is missing; a broker takes a while to have deleted what it has said is deleted."""
    async with asyncio.timeout(30):
        specs = topics.plan(shop.settings)
        while set(await topics.create(client_settings(shop.settings.kafka), specs)):
            await asyncio.sleep(0.5)
        counts = await topics.partition_counts(
            client_settings(shop.settings.kafka), [spec.name for spec in specs]
        )
        while not all(counts.values()):
            await asyncio.sleep(0.2)
            counts = await topics.partition_counts(client_settings(shop.settings.kafka), counts)


async def grow(shop: Shop, family: str, partitions: int) -> None:
    await with_admin(
        shop, lambda admin: admin.create_partitions({shop.topic(family): NewPartitions(partitions)})
    )


async def buy(shop: Shop, first: int, count: int = 12) -> list[Any]:
    """Purchases of known shoppers, each of another product and basket."""
    bought = [purchase(SHOPPERS[i % 6], f"p{i % 30}", i) for i in range(first, first + count)]
    return await shop.publish("purchases", bought)


async def answered(shop: Shop, sent: list[Any], first: int) -> None:
    for i, acknowledged in enumerate(sent, first):
        await shop.wait_for_answer(acknowledged, SHOPPERS[i % 6])


async def versions(shop: Shop) -> dict[str, int]:
    """Each shopper's newest version, as consumers see it; it never goes back."""
    newest: dict[str, int] = {}
    for record in await shop.read("recommendations"):
        user, version = record.key.decode(), json.loads(record.value)["version"]
        assert version >= newest.get(user, 0), f"{user}: {newest[user]} -> {version}"
        newest[user] = version
    return newest


async def counted(shop: Shop) -> dict[str, int]:
    """Purchases in each shopper's state, as the changelog has it last."""
    found: dict[str, int] = {}
    for record in await shop.read("changelog"):
        found[record.key.decode()] = len(parse_version(record.value).published) and _purchases(
            record.value
        )
    return found


def _purchases(state: bytes) -> int:
    from tests.faults.oracle.state import parse

    return int(parse(state).totals.purchases)


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.1)


def says(worker: Worker, words: str) -> Callable[[], bool]:
    def asked() -> bool:
        status, said = worker.get("/ready")
        return status == 503 and words in said

    return asked


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it is down"])
def test_t30_a_topic_that_was_deleted_and_created_again_is_read_whole(
    shop: Shop, runs: bool, exactly_once: bool
) -> None:
    """Its offsets begin at 0 again: to the states behind them, all of it would be repeats."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        before = await versions(shop)
        if not runs:
            assert await asyncio.to_thread(worker.terminate) == 0
        await delete(shop, "purchases")
        if runs:
            await until(says(worker, "-purchases"))
            assert worker.metric("pprm_topic_missing") == 1
        await create(shop)
        sent = await buy(shop, 100, 6)
        if not runs:
            worker = shop.start_worker()
        await until_ready(worker)
        await answered(shop, sent, 100)
        assert worker.metric("pprm_topic_missing") == 0
        assert worker.metric("pprm_events_repeated_total") == 0
        after = await versions(shop)
        assert all(after[user] > before[user] for user in SHOPPERS)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 3)

    asyncio.run(story())


def test_t30_a_topic_replaced_within_a_moment_is_noticed(shop: Shop) -> None:
    """With as many records as the one before, so that no offset is out of range."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        await delete(shop, "purchases")
        await create(shop)
        sent = await buy(shop, 100, 24)
        await answered(shop, sent[-6:], 100 + 18)
        await until_ready(worker)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 6)

    asyncio.run(story())


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it is down"])
def test_t31_a_changelog_that_was_deleted_and_created_again_gets_the_states_back(
    shop: Shop, runs: bool, exactly_once: bool
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        before = await versions(shop)
        if not runs:
            assert await asyncio.to_thread(worker.terminate) == 0
        await delete(shop, "changelog")
        if runs:
            await until(says(worker, "-changelog"))
        await create(shop)
        if not runs:
            worker = shop.start_worker()
        await until_ready(worker)
        await until(lambda: "writing the states of the files here back" in worker.log.read_text())
        await until_ready(worker)
        await answered(shop, await buy(shop, 100, 6), 100)
        after = await versions(shop)
        assert all(after[user] > before[user] for user in SHOPPERS)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 3)
        worker.kill()
        shutil.rmtree(shop.directory / "worker")  # from now on the changelog is enough
        await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 200, 6), 200)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 4)
        await versions(shop)

    asyncio.run(story())


def test_t31_states_that_nobody_has_are_a_reason_not_to_start(shop: Shop) -> None:
    """The changelog is new, and the directory is gone, or older than what was processed."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        assert await asyncio.to_thread(worker.terminate) == 0
        shutil.copytree(shop.directory / "worker", shop.directory / "stale")
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 100), 100)
        assert await asyncio.to_thread(worker.terminate) == 0
        await delete(shop, "changelog")
        await create(shop)
        for name in ("stale", "none"):
            refused = shop.start_worker(name)
            assert await asyncio.to_thread(refused.process.wait, 60) == 70
            assert "lacks states" in refused.tail() and "state.accept_lost" in refused.tail()
            assert not await shop.read("changelog")
        await until_ready(shop.start_worker())  # the one that has them
        await until(
            lambda: "writing the states of the files here back" in shop.workers[-1].log.read_text()
        )
        assert await asyncio.to_thread(shop.workers[-1].terminate) == 0
        worker = await until_ready(shop.start_worker("none"))
        await answered(shop, await buy(shop, 200, 6), 200)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 5)

    asyncio.run(story())


def test_t31_what_nobody_has_can_be_given_up(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        assert await asyncio.to_thread(worker.terminate) == 0
        await delete(shop, "changelog")
        await create(shop)
        worker = await until_ready(shop.start_worker("none", STATE__ACCEPT_LOST="true"))
        await answered(shop, await buy(shop, 100, 6), 100)
        assert "is set" in worker.log.read_text()
        assert await asyncio.to_thread(worker.terminate) == 0
        await until_ready(shop.start_worker("none"))  # once: now the changelog holds what there is

    asyncio.run(story())


def test_t32_a_user_keyed_topic_with_more_partitions_is_not_read_and_nothing_of_it_is_lost(
    shop: Shop,
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        await grow(shop, "browses", PARTITIONS + 2)
        await until(says(worker, f"{shop.topic('browses')} has {PARTITIONS + 2}"))
        assert worker.metric("pprm_topic_partitions_differ") == 1
        looks = [(user, {"event_id": f"l{i}", "user_id": user, "product_id": "p1", "action": "view",
                         "occurred_at": "2017-11-06T10:00:00Z"}) for i,
                         user in enumerate(SHOPPERS * 4)]  # fmt: skip
        await shop.publish("browses", looks)
        await answered(shop, await buy(shop, 100), 100)  # the others go on
        assert worker.alive
        assert not await committed(shop, "browses", PARTITIONS + 2)
        assert await asyncio.to_thread(worker.terminate) == 0
        refused = shop.start_worker()
        assert await asyncio.to_thread(refused.process.wait, 60) == 70
        assert "pprm repartition" in refused.tail()

    asyncio.run(story())


async def committed(shop: Shop, family: str, partitions: int) -> int:
    """Sum of the group's offsets on a topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=shop.broker, group_id=shop.name, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [TopicPartition(shop.topic(family), p) for p in range(partitions)]
        consumer.assign(tps)
        return sum([await consumer.committed(tp) or 0 for tp in tps])
    finally:
        await consumer.stop()


@only_in_full
def test_t32_while_lists_have_nowhere_to_go_events_wait_and_are_answered_afterwards(
    shop: Shop, exactly_once: bool
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        await delete(shop, "recommendations")
        await until(says(worker, f"cannot write to {shop.topic('recommendations')}"))
        fewer = [NewTopic(shop.topic("recommendations"), PARTITIONS - 1, 1)]
        async with asyncio.timeout(30):
            while (await with_admin(shop, lambda a: a.create_topics(fewer))).topic_errors[0][1]:
                await asyncio.sleep(0.5)
        await until(says(worker, f"recommendations has {PARTITIONS - 1}"))
        sent = await buy(shop, 100, 6)
        await asyncio.sleep(1)
        assert worker.alive and worker.get("/live")[0] == 200
        await grow(shop, "recommendations", PARTITIONS)
        await answered(shop, sent, 100)
        await until_ready(worker)
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 3)

    asyncio.run(story())


def test_t32_products_in_partitions_that_came_later_are_seen_and_judged(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await grow(shop, "products", PARTITIONS + 4)
        new = [product(100 + i) for i in range(24)]
        async with shop.producer() as producer:
            for i, (key, value) in enumerate(new):
                partition = i % (PARTITIONS + 4)
                await producer.send_and_wait(
                    shop.topic("products"), json.dumps(value).encode(), key.encode(), partition
                )
            await producer.send_and_wait(shop.topic("products"), b"{", b"p-broken", PARTITIONS + 3)
        await until(lambda: available(worker) == PRODUCTS + 24)
        await until(lambda: worker.metric("pprm_events_invalid_total") == 1)
        assert worker.get("/ready")[0] == 200
        await shop.wait_for(
            "dead_letters", lambda letters: any(r.key == b"p-broken" for r in letters)
        )

    asyncio.run(story())


def test_t32_a_products_topic_made_anew_is_the_catalogue(shop: Shop) -> None:
    """What only the one before held is recommended no more."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await delete(shop, "products")
        await create(shop)
        await shop.publish("products", [product(i) for i in range(100, 110)])
        await until(lambda: "the topic was made anew" in worker.log.read_text())
        await until(lambda: available(worker) == 10)
        (sent,) = await shop.publish("purchases", [purchase("ann", "p100", 1)])
        answer = await shop.wait_for_answer(sent, "ann")
        assert {item["product_id"] for item in answer["items"]} == {
            f"p{i}" for i in range(100, 110)
        }

    asyncio.run(story())


def available(worker: Worker) -> float:
    said = worker.get("/metrics")[1].splitlines()
    return next(
        float(line.split()[-1]) for line in said if 'catalogue_products{state="available"}' in line
    )


@pytest.mark.parametrize("note", ["", '{"topic":1}'], ids=["no note", "of another topic"])
def test_t33_an_offset_beyond_the_end_loses_nothing_of_what_comes(shop: Shop, note: str) -> None:
    """As after an unclean leader election, or with the offsets of a deleted topic."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        assert await asyncio.to_thread(worker.terminate) == 0
        await set_offsets(shop, 1000, note)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 100, 6), 100)
        assert worker.metric("pprm_topics_replaced_total") == PARTITIONS
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 3), (
            "all that is new, and nothing twice"
        )

    asyncio.run(story())


async def set_offsets(shop: Shop, offset: int, note: str) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=shop.broker, group_id=shop.name, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [TopicPartition(shop.topic("purchases"), p) for p in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.commit({tp: OffsetAndMetadata(offset, note) for tp in tps})
    finally:
        await consumer.stop()


def test_t35_offsets_that_go_back_count_nothing_twice(shop: Shop, exactly_once: bool) -> None:
    """As a broker gave them back that was killed: notes and all, of long ago.

    What was written with its state is not answered again either.
    """

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 0), 0)
        assert await asyncio.to_thread(worker.terminate) == 0
        await set_offsets(shop, 0, await note_of(shop))
        worker = await until_ready(shop.start_worker())
        await answered(shop, await buy(shop, 100, 6), 100)
        assert worker.metric("pprm_events_repeated_total") == 12
        assert await counted(shop) == dict.fromkeys(SHOPPERS, 3)
        ids = [json.loads(r.value)["recommendation_id"] for r in await shop.read("recommendations")]
        assert (len(set(ids)) == len(ids)) is exactly_once

    asyncio.run(story())


async def note_of(shop: Shop) -> str:
    """What is written beside the committed offset of the first partition of the purchases."""
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.broker)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(shop.name)
        note: str = offsets[TopicPartition(shop.topic("purchases"), 0)].metadata
        return note
    finally:
        await admin.close()


def test_t30_recreated_and_grown_topics_under_load_leave_the_states_whole(shop: Shop) -> None:
    """The oracle follows every event of what is there at the end.

    Products come and go meanwhile.
    """

    async def story() -> None:
        await open_shop(shop)
        async with supervised(shop):
            feeding = load(shop, events=1500, per_second=100)
            await asyncio.sleep(3)
            await grow(shop, "products", PARTITIONS + 2)
            await delete(shop, "changelog")
            await create(shop)
            await feeding
            await assert_clean(shop)

    asyncio.run(story())
