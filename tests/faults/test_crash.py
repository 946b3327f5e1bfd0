"""Workers die at any point: T2, T8, T15, T16 of docs/reliability.md."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.harness import (
    assert_clean,
    freshen,
    judge,
    kill_and_wait_for_the_next,
    load,
    only_in_full,
    open_shop,
    size,
    supervised,
    tick,
    until_ready,
)
from tests.faults.link import Link, broker_behind
from tests.integration.brokers import has_apache
from tests.integration.shop import Shop
from worker.kafka import embedded

SLOW_LINK = 20_000
"""Bytes per second of a connection: a batch of states takes seconds, a commit on the connection
beside it does not."""


def test_t2_kill_9_at_random_points(shop: Shop, exactly_once: bool) -> None:
    """Also while it starts, recovers or commits: nothing waits for a worker to be ready."""
    kills, rng = size(3, 20), random.Random(2)
    freshen(shop)

    async def story() -> None:
        await open_shop(shop)
        feeding = load(shop, events=size(2500, 8000), per_second=150)
        async with supervised(shop) as worker:
            for number in range(kills):
                if number % 3 == 0:
                    await until_ready(worker())
                await asyncio.sleep(rng.uniform(0.5, 4.0))
                await kill_and_wait_for_the_next(worker)
            await feeding
            verdict = await assert_clean(shop, exactly_once=exactly_once)
            assert not exactly_once or verdict["duplicate_output"] == 0

    asyncio.run(story())


def test_t34_kill_9_between_the_lists_and_the_states_of_a_turn(
    shop: Shop, exactly_once: bool
) -> None:
    """Again and again; and before a turn's transaction, where lists and states are in one."""
    kills = size(2, 8)
    freshen(shop)

    async def story() -> None:
        await open_shop(shop)
        feeding = load(shop, events=size(1500, 8000), per_second=100)
        async with supervised(shop, sabotage=["kill-turn=1"]) as worker:
            await until_ready(worker())
            for _ in range(kills):
                killed = worker()
                await tick(shop)  # all lists are due
                async with asyncio.timeout(90):
                    while worker() is killed:
                        await asyncio.sleep(0.05)
                assert killed.process.returncode == -9
        worker().kill()
        shop.start_worker()
        await feeding
        verdict = await assert_clean(shop, exactly_once=exactly_once)
        assert not exactly_once or verdict["duplicate_output"] == 0

    asyncio.run(story())


def test_t8_an_exception_in_the_middle_of_a_batch(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        sabotage = [f"fail-batch=8@{shop.directory / 'failed'}"]
        async with supervised(shop, sabotage=sabotage) as worker:
            first = await until_ready(worker())
            await load(shop, events=size(1000, 3000), per_second=200)
            await assert_clean(shop)
            assert first.process.returncode == 70
            assert "sabotage: this micro-batch fails" in shop.logs()[0].read_text()

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["embedded", "apache"])
def test_t15_kill_at_commit_behind_a_slow_link(kind: str, tmp_path: Path) -> None:
    """For every committed offset the changelog holds the update.

    Commits must not overtake what they rest on.
    """

    async def story(shop: Shop, link: Link, broker_port: int) -> None:
        await link.open(broker_port)
        await open_shop(shop)
        for number in range(size(2, 5)):
            worker = await until_ready(shop.start_worker())
            feeding = load(shop, events=1200, per_second=0, seed=number, first=1200 * number)
            link.bytes_per_second = SLOW_LINK
            await asyncio.sleep(random.Random(number).uniform(3.0, 6.0))
            worker.kill()
            link.bytes_per_second = 0
            await feeding
            while_down = await judge(shop, 0)
            assert while_down["lost"] == 0 and while_down["skip"] == 0, while_down.said
        shop.start_worker()
        await assert_clean(shop)
        await link.close()

    if kind == "apache" and not has_apache():
        pytest.skip("PPRM_TEST_KAFKA names no Apache Kafka")
    link = Link(embedded.free_port())
    address = f"127.0.0.1:{link.port}"
    shop = Shop(address, "slow-link", tmp_path, is_apache=kind == "apache")
    freshen(shop)
    try:
        with broker_behind(kind, tmp_path, address) as port:
            asyncio.run(story(shop, link, port))
    finally:
        shop.stop()


@only_in_full
def test_t16_a_refused_send_commits_nothing(shop: Shop, exactly_once: bool) -> None:
    async def story() -> None:
        await open_shop(shop)
        sabotage = [f"refuse-send=8@{shop.directory / 'refused'}"]
        async with supervised(shop, sabotage=sabotage) as worker:
            first = await until_ready(worker())
            await load(shop, events=2000, per_second=200)
            verdict = await assert_clean(shop, exactly_once=exactly_once)
            assert first.process.returncode == 70
            assert not exactly_once or verdict["duplicate_output"] == 0

    asyncio.run(story())
