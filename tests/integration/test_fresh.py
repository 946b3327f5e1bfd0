"""Lists that nobody asks for: refreshed when they are old, retracted when a product goes."""

import asyncio
import json
from collections import defaultdict
from datetime import datetime
from typing import Any

import pytest

from pprm.state import user_state
from tests.integration.shop import Shop, Worker, product, purchase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SHOPPERS = [f"u{number}" for number in range(30)]


async def opened(shop: Shop, products: int = 30, **chosen: str) -> None:
    """A shop of one partition, whose time all shoppers share."""
    shop.partitions = 1
    shop.extra |= {"PPRM_RECOMMENDATIONS__REFRESH_HOURS": "24", **chosen}
    await shop.create_topics()
    await shop.publish("products", [product(i) for i in range(products)])


async def listed(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """All lists of each shopper, in order."""
    found = defaultdict(list)
    for record in await shop.read("recommendations"):
        found[record.key.decode()].append(json.loads(record.value))
    return found


def kinds(lists: list[dict[str, Any]]) -> list[str]:
    return [made["trigger"]["kind"] for made in lists]


async def until_all(shop: Shop, kind: str, shoppers: list[str], seconds: float = 60) -> None:
    """Wait until each of them has a list of a kind."""
    async with asyncio.timeout(seconds):
        while True:
            found = await listed(shop)
            if all(kind in kinds(found[shopper]) for shopper in shoppers):
                return


async def states(shop: Shop) -> dict[str, user_state.UserState]:
    newest = {record.key.decode(): record.value for record in await shop.read("changelog")}
    return {key: user_state.decode(value) for key, value in newest.items()}


async def answered(shop: Shop, shoppers: list[str], at: str, first: int = 0) -> None:
    """Each buys something then, and has a list."""
    sent = await shop.publish(
        "purchases", [purchase(one, f"p{n % 9}", first + n, at) for n, one in enumerate(shoppers)]
    )
    await shop.wait_for_answer(sent[-1], shoppers[-1])


def test_lists_grow_old_with_the_time_of_their_partition_and_are_made_again_once(
    shop: Shop,
) -> None:
    async def story() -> None:
        await opened(shop)
        worker = shop.start_worker().wait_until_ready()
        await answered(shop, SHOPPERS, "2017-11-05T10:00:00Z")
        await asyncio.sleep(1)
        assert {kind for lists in (await listed(shop)).values() for kind in kinds(lists)} == {
            "event"
        }
        (moved,) = await shop.publish(
            "purchases", [purchase("clock", "p1", 99, "2017-11-07T10:00:00Z")]
        )
        await until_all(shop, "refresh", SHOPPERS)
        await shop.publish("purchases", [purchase("clock", "p2", 100, "2017-11-07T10:00:01Z")])
        await asyncio.sleep(2)
        found = await listed(shop)
        for shopper in SHOPPERS:
            answer, refresh = found[shopper]
            assert refresh["trigger"] == {
                "kind": "refresh", "topic": moved.topic, "partition": 0, "offset": moved.offset,
                "event_id": "e99",
            }  # fmt: skip
            assert refresh["version"] > answer["version"]
        at = datetime.fromisoformat("2017-11-07T10:00:00+00:00").timestamp()
        kept = await states(shop)
        assert {kept[shopper].listed_at for shopper in SHOPPERS} == {at}
        assert 'cause="refresh"} 30.0' in worker.get("/metrics")[1]

    asyncio.run(story())


def test_a_product_that_goes_leaves_all_lists_that_hold_it(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop, products=14, PPRM_RECOMMENDATIONS__RETRACT_SECONDS="5")
        shop.start_worker().wait_until_ready()
        await answered(shop, SHOPPERS, "2017-11-05T10:00:00Z")
        before = await shop.lists()
        held = {one: [item["product_id"] for item in before[one]["items"]] for one in SHOPPERS}
        (gone, *_), (sold_out, *_) = (held[one] for one in (SHOPPERS[0], SHOPPERS[1]))
        sent = await shop.publish("products", [(gone, None)])
        holders = [one for one in SHOPPERS if gone in held[one]]
        await until_all(shop, "retraction", holders, 20)
        newest = await shop.lists()
        for one in holders:
            assert newest[one]["trigger"] == {
                "kind": "retraction", "topic": sent[0].topic, "partition": sent[0].partition,
                "offset": sent[0].offset, "event_id": None,
            }  # fmt: skip
        await shop.publish("products", [product(int(sold_out[1:]), available=False)])
        async with asyncio.timeout(20):
            while any(
                {gone, sold_out} & {item["product_id"] for item in made["items"]}
                for made in (await shop.lists()).values()
            ):
                await asyncio.sleep(0.1)
        for lists in (await listed(shop)).values():
            versions = [made["version"] for made in lists]
            assert versions == sorted(set(versions))

    asyncio.run(story())


def test_a_product_that_went_while_nobody_worked_leaves_the_lists_at_the_start(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop, products=12)
        worker = shop.start_worker().wait_until_ready()
        await answered(shop, SHOPPERS, "2017-11-05T10:00:00Z")
        assert worker.terminate() == 0
        gone = (await shop.lists())[SHOPPERS[0]]["items"][0]["product_id"]
        await shop.publish("products", [(gone, None)])
        shop.start_worker().wait_until_ready()
        async with asyncio.timeout(30):
            while any(
                gone in {item["product_id"] for item in made["items"]}
                for made in (await shop.lists()).values()
            ):
                await asyncio.sleep(0.1)

    asyncio.run(story())


async def killed_in_a_turn(shop: Shop, sabotage: str) -> Worker:
    """Lists are due; a worker dies while it makes them, and another one goes on."""
    await opened(shop)
    worker = shop.start_worker(sabotage=["slow-list=0.01", sabotage]).wait_until_ready()
    await answered(shop, SHOPPERS, "2017-11-05T10:00:00Z")
    await shop.publish("purchases", [purchase("clock", "p1", 99, "2017-11-07T10:00:00Z")])
    await asyncio.to_thread(worker.process.wait, 60)
    return shop.start_worker().wait_until_ready()


def test_a_worker_that_dies_between_lists_and_states_loses_no_refresh_and_the_next_answer_counts(
    shop: Shop,
) -> None:
    async def story() -> None:
        worker = await killed_in_a_turn(shop, "kill-turn=2")
        await shop.publish("purchases", [purchase("clock", "p2", 100, "2017-11-07T10:00:01Z")])
        await until_all(shop, "refresh", SHOPPERS)
        found = await listed(shop)
        repeated = [one for one in SHOPPERS if len(found[one]) > 2]
        assert repeated, "those of the turn that died came, and came again"
        for one in SHOPPERS:
            versions = [made["version"] for made in found[one]]
            assert len(set(versions)) == 2 and versions == sorted(versions)
        await answered(shop, SHOPPERS, "2017-11-07T10:00:02Z", first=200)
        found = await listed(shop)
        for one in SHOPPERS:
            assert found[one][-1]["trigger"]["kind"] == "event"
            assert found[one][-1]["version"] > max(m["version"] for m in found[one][:-1])
        assert worker.alive

    asyncio.run(story())


def test_lists_that_are_as_before_are_not_sent_again_where_the_shop_wants_only_what_changed(
    shop: Shop,
) -> None:
    async def story() -> None:
        await opened(shop, products=1, PPRM_RECOMMENDATIONS__PUBLISH="changed")
        worker = shop.start_worker().wait_until_ready()
        await answered(shop, SHOPPERS, "2017-11-05T10:00:00Z")
        await shop.publish("purchases", [purchase("clock", "p1", 99, "2017-11-07T10:00:00Z")])
        async with asyncio.timeout(60):
            while worker.metric("pprm_recommendations_unchanged_total") < len(SHOPPERS):
                await asyncio.sleep(0.1)
        at = datetime.fromisoformat("2017-11-07T10:00:00+00:00").timestamp()
        kept = await states(shop)
        assert {kept[shopper].listed_at for shopper in SHOPPERS} == {at}, "as good as new"
        found = await listed(shop)
        assert all(kinds(found[shopper]) == ["event"] for shopper in SHOPPERS)
        await shop.publish("products", [product(1)])
        later = await shop.publish(
            "purchases", [purchase(SHOPPERS[0], "p0", 200, "2017-11-07T10:00:01Z")]
        )
        for _ in range(40):  # until the worker has read of the product
            if len((await listed(shop))[SHOPPERS[0]]) > 1:
                break
            later = await shop.publish(
                "purchases", [purchase(SHOPPERS[0], "p0", 201, "2017-11-07T10:00:02Z")]
            )
        answer = (await listed(shop))[SHOPPERS[0]][-1]
        assert len(answer["items"]) == 2 and answer["trigger"]["offset"] <= later[0].offset

    asyncio.run(story())
