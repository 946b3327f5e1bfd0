"""kill -9 in the middle, and a lost data directory: nothing missing, nothing twice in a state."""

import asyncio
import random
import shutil
from typing import Any

import pytest

from tests.faults.oracle import differences
from tests.integration.shop import Shop, product, purchase

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
USERS, EVENTS, PER_SECOND = 25, 1500, 150


async def feed(shop: Shop, rng: random.Random) -> None:
    """Purchases and browses of a few shoppers, never more than a state's sequence holds."""
    async with shop.producer() as producer:
        futures = []
        for number in range(EVENTS):
            user, item = f"u{rng.randrange(USERS)}", f"p{rng.randrange(30)}"
            family = "purchases" if rng.random() < 0.7 else "browses"
            key, value = purchase(user, item, number // 3)
            if family == "browses":
                value = {k: value[k] for k in ("event_id", "user_id", "product_id", "occurred_at")} | {"action": "view"}
            futures.append(await producer.send(shop.topic(family), key=key.encode(), value=_json(value)))
            if number % 10 == 9:
                await asyncio.sleep(10 / PER_SECOND)
        await asyncio.gather(*futures)


async def settle(shop: Shop) -> list[str]:
    """What still differs from the oracle once the worker has had time to catch up."""
    found: list[str] = ["not looked yet"]
    for _ in range(40):
        inputs = await shop.read("purchases") + await shop.read("browses")
        found = differences(inputs, await shop.read("changelog"), await shop.read("recommendations"))
        if not found:
            break
        await asyncio.sleep(0.5)
    return found


def test_kill_9_in_the_middle(shop: Shop) -> None:
    rng = random.Random(7)

    async def story() -> list[str]:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(30)])
        worker = shop.start_worker().wait_until_ready()
        feeding = asyncio.create_task(feed(shop, rng))
        for _ in range(2):
            await asyncio.sleep(rng.uniform(1.0, 2.5))
            worker.kill()
            worker = shop.start_worker()
        await feeding
        return await settle(shop)

    assert asyncio.run(story()) == []


def test_a_wiped_data_directory_recovers_from_the_changelog(shop: Shop) -> None:
    rng = random.Random(8)

    async def story() -> list[str]:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(30)])
        worker = shop.start_worker().wait_until_ready()
        await feed(shop, rng)
        assert await settle(shop) == []
        assert worker.terminate() == 0
        shutil.rmtree(shop.directory / "worker")
        before = {r.key: r.value for r in await shop.read("changelog")}
        shop.start_worker().wait_until_ready()
        sent = await shop.publish("purchases", [purchase(f"u{i}", "p1", 99_999) for i in range(USERS)])
        for i, acknowledged in enumerate(sent):
            await shop.wait_for_answer(acknowledged, f"u{i}")
        assert len(before) == USERS
        return await settle(shop)

    assert asyncio.run(story()) == []


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)
