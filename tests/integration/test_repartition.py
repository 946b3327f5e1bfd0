"""`pprm repartition` on a broker: 4 partitions become 6, killed in the middle.

One state a shopper, of all events.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.admin import NewPartitions

from schemas.families import USER_KEYED
from tests.faults import workload
from tests.faults.harness import size
from tests.faults.oracle import fold, log
from tests.faults.oracle.state import parse
from tests.integration.shop import Shop, product, purchase
from worker.kafka import topics
from worker.kafka.partitioner import partition_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

USERS, PRODUCTS = 40, 20
BEFORE, AFTER = 4, 6


DELIVERIES = ["at_least_once", "exactly_once"][: size(1, 2)]


@pytest.fixture(params=DELIVERIES, autouse=True)
def apache(request: pytest.FixtureRequest, shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("the embedded broker cannot add partitions")
    shop.extra["PPRM_DELIVERY"] = request.param
    shop.partitions = BEFORE


def command(
    shop: Shop, partitioner: str = "murmur2", partitions: int = AFTER
) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "PPRM_TOPICS__PARTITIONER": partitioner,
        "PPRM_APP_ID": shop.name, "PPRM_TOPICS__PREFIX": f"{shop.name}-",
        "PPRM_KAFKA__BOOTSTRAP_SERVERS": shop.broker,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "repartition", "--partitions", str(partitions)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run(shop: Shop, partitioner: str = "murmur2", partitions: int = AFTER) -> tuple[int, str]:
    process = command(shop, partitioner, partitions)
    said = " ".join(process.communicate(timeout=120)[0].split())
    return process.returncode, said


def run_without_members(shop: Shop) -> tuple[int, str]:
    """Run it as soon as the group has forgotten a worker that was killed."""
    until = time.monotonic() + 60
    while True:
        code, said = run(shop)
        if "stop all workers first" not in said or time.monotonic() > until:
            return code, said
        time.sleep(1)


def killed_after(shop: Shop, line: str) -> None:
    with command(shop) as process:
        assert process.stdout
        for said in process.stdout:
            if line in said:
                process.kill()
    assert process.returncode == -9


async def buy(shop: Shop, first: int, count: int) -> None:
    """Purchases and looks of all shoppers in turn, each in a second and a basket of its own."""
    for family in ("purchases", "browses"):
        await shop.publish(
            family,
            [
                _event(family, number)
                for number in range(first, first + count)
                if FAMILIES[number % 3] == family
            ],
        )


FAMILIES = ("purchases", "purchases", "browses")


def _event(family: str, number: int) -> tuple[str, Any]:
    at = (workload.START + timedelta(seconds=number)).isoformat()
    user, value = purchase(f"u{number * 7 % USERS}", f"p{number * 11 % PRODUCTS}", number, at)
    if family == "browses":
        value = {name: value[name] for name in value if name != "basket_id"} | {"action": "view"}
    return user, value


async def until_all_is_read(shop: Shop, events: int) -> None:
    def total(found: list[Any]) -> bool:
        newest = {(r.key, r.partition): r for r in found}
        return sum(len(parse(r.value).sequence) for r in newest.values() if r.value) == events

    await shop.wait_for("changelog", total, 90)


def test_four_partitions_become_six(shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(PRODUCTS)])
        worker = shop.start_worker().wait_until_ready()
        await buy(shop, 0, 400)
        await until_all_is_read(shop, 400)
        code, said = await asyncio.to_thread(run, shop)
        assert code == 2 and "stop all workers" in said
        worker.terminate()
        await buy(shop, 400, 20)
        code, said = await asyncio.to_thread(run, shop)
        assert (
            code == 2
            and "records that no worker has read" in said
            and f"{shop.name}-purchases: " in said
        )
        worker = shop.start_worker().wait_until_ready()
        await until_all_is_read(shop, 420)
        worker.terminate()
        await asyncio.to_thread(killed_after, shop, "changelog: 4 partitions are 6")
        await asyncio.to_thread(killed_after, shop, "states moved from partition 1")
        code, said = await asyncio.to_thread(run, shop, partitions=2 * AFTER)
        assert code == 2 and "a run to 6 partitions was not finished" in said
        halfway = shop.start_worker("halfway")
        assert (
            await asyncio.to_thread(halfway.process.wait, 60) == 70
            and "equal numbers of partitions" in halfway.tail()
        )
        assert (await asyncio.to_thread(run, shop))[0] == 0
        code, said = await asyncio.to_thread(run, shop)
        assert code == 0 and "nothing to do" in said
        shop.partitions = AFTER
        await buy(shop, 420, 200)
        shop.start_worker().wait_until_ready()
        await until_all_is_read(shop, 620)
        await check_states(shop)
        await check_lists(shop)

    asyncio.run(story())


def test_a_topic_that_has_grown_by_hand_with_records_that_nobody_has_read(shop: Shop) -> None:
    """No worker can start, so nobody can read them first.

    `any` brings them to where their shoppers are now.
    """

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(PRODUCTS)])
        worker = shop.start_worker().wait_until_ready()
        await buy(shop, 0, 200)
        await until_all_is_read(shop, 200)
        await buy(shop, 200, 60)
        worker.kill()  # some of these are in states, and not committed
        async with topics.admin_client({"bootstrap_servers": shop.broker}) as admin:
            await admin.create_partitions({shop.topic("browses"): NewPartitions(AFTER)})
        await buy(shop, 260, 60)
        code, said = await asyncio.to_thread(run_without_members, shop)
        assert code == 2 and "run this with topics.partitioner = any" in said
        code, said = await asyncio.to_thread(run, shop, "any")
        assert code == 0 and "Start the workers with topics.partitioner = any" in said
        shop.partitions = AFTER
        shop.start_worker(TOPICS__PARTITIONER="any").wait_until_ready()
        await until_all_is_read(shop, 320)
        await buy(shop, 320, 60)
        await until_all_is_read(shop, 380)
        await check_states(shop)
        await check_lists(shop)

    asyncio.run(story())


def test_who_was_forgotten_and_came_back_is_kept_and_all_topics_may_have_grown_by_hand(
    shop: Shop,
) -> None:
    """A null leaves a mark in every partition, which is no state of the shopper's."""

    async def story() -> None:
        users = [f"u{number}" for number in range(12)]
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(PRODUCTS)])
        worker = shop.start_worker().wait_until_ready()
        await shop.publish("purchases", [purchase(user, "p1", 1) for user in users])
        await until_all_is_read(shop, len(users))
        await shop.publish("users", [(user, None) for user in users])
        gone = lambda found: sum(r.value is None for r in found) >= len(users)  # noqa: E731
        await shop.wait_for("recommendations", gone)
        await shop.publish(
            "purchases", [purchase(user, f"p{n}", n) for n in (2, 3, 4) for user in users]
        )
        await until_all_is_read(shop, 3 * len(users))
        before = {user: listed["version"] for user, listed in (await shop.lists()).items()}
        worker.terminate()
        async with topics.admin_client({"bootstrap_servers": shop.broker}) as admin:
            grown = {shop.topic(family): NewPartitions(AFTER) for family in USER_KEYED}
            await admin.create_partitions(grown)
        code, said = await asyncio.to_thread(run, shop)
        assert code == 0 and "nothing to do" not in said
        shop.partitions = AFTER
        shop.start_worker().wait_until_ready()
        sent = await shop.publish("purchases", [purchase(user, "p9", 9) for user in users])
        for user, acknowledged in zip(users, sent, strict=True):
            listed = await shop.wait_for_answer(acknowledged, user)
            assert listed["version"] > before[user]
        states = {(r.key, r.partition): r.value for r in await shop.read("changelog")}
        for user in users:
            home = partition_of("murmur2", user.encode(), AFTER)
            assert parse(states[user.encode(), home]).totals.purchases == 4

    asyncio.run(story())


async def check_states(shop: Shop) -> None:
    """One state a shopper, where the key belongs by the new count, with every event once."""
    events = defaultdict[bytes, list[fold.Event]](list)
    for family in ("purchases", "browses"):
        for r in await shop.read(family):
            events[r.key].append(
                fold.read(log.Record(family, r.partition, r.offset, r.key, r.value))
            )
    states = {(r.key, r.partition): r.value for r in await shop.read("changelog")}
    held = {(key, partition): parse(value) for (key, partition), value in states.items() if value}
    assert held.keys() == {(key, partition_of("murmur2", key, AFTER)) for key in events}
    for (key, _), state in held.items():
        assert Counter(state.sequence) == Counter(event.act for event in events[key])
        bought = Counter(event.product for event in events[key] if event.kind == fold.PURCHASE)
        assert {product: counter.count for product, counter in state.counters.items()} == bought
        assert state.totals.purchases == state.totals.baskets == bought.total()


async def check_lists(shop: Shop) -> None:
    """The newest list lies where the key belongs, and versions only grow.

    First in the old partition, then there.
    """
    lists = defaultdict[bytes, dict[int, list[int]]](lambda: defaultdict(list))
    for r in await shop.read("recommendations"):
        lists[r.key][r.partition].append(json.loads(r.value)["version"])
    for key, versions in lists.items():
        old, new = (partition_of("murmur2", key, count) for count in (BEFORE, AFTER))
        assert versions.keys() <= {old, new}
        in_order = versions[new] if old == new else versions[old] + versions[new]
        assert in_order == sorted(in_order) and max(in_order) == versions[new][-1]
