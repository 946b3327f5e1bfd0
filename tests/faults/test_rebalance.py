"""Workers come, go and stall: T1, T3, T7, T9, T12, T17 of docs/reliability.md."""

import asyncio
import random
import signal

import pytest

from tests.faults.harness import (
    FULL,
    Offsets,
    assert_clean,
    freshen,
    load,
    only_in_full,
    open_shop,
    size,
    supervised,
    until_busy,
    until_ready,
)
from tests.integration.shop import Shop, Worker

SESSION_SECONDS = 6


@pytest.mark.parametrize("lossy", [False, True], ids=["", "2 % of what is fetched thrown away"])
def test_t1_joins_and_leaves_under_load(shop: Shop, exactly_once: bool, lossy: bool) -> None:
    if lossy and exactly_once:
        pytest.skip("lossy enough at least once; `make soak` does it")
    rounds = size(2, 6)
    freshen(shop)

    async def story() -> None:
        await open_shop(shop)
        sabotage = ["drop=0.02"] if lossy else []
        await until_ready(shop.start_worker("a", sabotage))
        feeding = load(shop, events=size(3000, 15_000), per_second=250)
        for number in range(rounds):
            joined = await until_ready(shop.start_worker(f"b{number}", sabotage))
            await asyncio.sleep(random.Random(number).uniform(0.2, 2.0))
            assert await asyncio.to_thread(joined.terminate) == 0
        await feeding
        verdict = await assert_clean(shop, exactly_once=exactly_once)
        if exactly_once:
            assert verdict["duplicate_output"] == 0
        if lossy:
            assert shop.workers[0].metric("pprm_offset_gaps_total") > 0

    asyncio.run(story())


def test_t1_a_backlog_of_which_ranges_are_thrown_away(shop: Shop) -> None:
    """A fetch of more than 1,000 records is handed over in ranges.

    A seek back has to bring all of them again.
    """

    async def story() -> None:
        await open_shop(shop)
        await load(shop, events=12_000, per_second=0)
        shop.start_worker("a", ["drop=0.3"])
        await assert_clean(shop)

    asyncio.run(story())


@only_in_full
def test_t1_static_members_that_restart_move_nothing(shop: Shop) -> None:
    """Static membership (KIP-345).

    Cooperative rebalancing is not in aiokafka: docs/reliability.md.
    """
    if not shop.is_apache:
        pytest.skip("the embedded broker does not let a static member come back")

    async def story() -> None:
        await open_shop(shop)
        first = shop.start_worker("a", KAFKA__INSTANCE_ID="a", KAFKA__SESSION_TIMEOUT_SECONDS="30")
        second = shop.start_worker("b", KAFKA__INSTANCE_ID="b", KAFKA__SESSION_TIMEOUT_SECONDS="30")
        await until_ready(first)
        await until_ready(second)
        feeding = load(shop, events=6000, per_second=200)
        await until_busy(shop)
        await asyncio.sleep(5)
        before = first.metric("pprm_rebalances_total")
        for _ in range(3):
            second.kill()
            second = await until_ready(
                shop.start_worker("b", KAFKA__INSTANCE_ID="b", KAFKA__SESSION_TIMEOUT_SECONDS="30")
            )
        moved = first.metric("pprm_rebalances_total") - before
        await feeding
        await assert_clean(shop)
        assert moved == 0

    asyncio.run(story())


@only_in_full
def test_t3_three_workers_of_which_one_stops_and_one_is_killed(
    shop: Shop, exactly_once: bool
) -> None:
    """The third finishes alone; the oracle computes every shopper's state again."""

    async def story() -> None:
        await open_shop(shop)
        workers = [shop.start_worker(name) for name in "abc"]
        for worker in workers:
            await until_ready(worker)
        feeding = load(shop, events=6000, per_second=300)
        await until_busy(shop)
        assert await asyncio.to_thread(workers[0].terminate) == 0
        await asyncio.sleep(3)
        workers[1].kill()
        await feeding
        verdict = await assert_clean(shop, exactly_once=exactly_once)
        assert not exactly_once or verdict["duplicate_output"] == 0

    asyncio.run(story())


@only_in_full
def test_t7_offsets_never_go_back(shop: Shop) -> None:
    """The group's, and those in the files of a worker that is killed and started again."""

    async def story() -> None:
        await open_shop(shop)
        offsets, rng = Offsets(), random.Random(7)
        feeding = load(shop, events=4000, per_second=200)
        for _ in range(4):
            worker = await until_ready(shop.start_worker())
            for _ in range(3):
                await asyncio.sleep(rng.uniform(0.3, 0.8))
                await offsets.see_committed(shop)
            worker.kill()
            offsets.see_persisted(shop.directory / "worker")
        shop.start_worker()
        await feeding
        await assert_clean(shop)
        await offsets.see_committed(shop)
        assert offsets.samples > 30
        assert offsets.went_back == []

    asyncio.run(story())


@pytest.mark.parametrize("fresh", [False, True], ids=["", "lists are made again meanwhile"])
def test_t9_a_worker_that_wakes_up_after_its_session_overwrites_nothing(
    shop: Shop, exactly_once: bool, fresh: bool
) -> None:
    """It stops with a batch in its hands, for twice the session, and then sends it.

    No older state survives.

    Not in the changelog either, and nobody touches the keys again: the load ends while it sleeps.
    Where lists are made again, their owner does.
    """
    if (exactly_once or fresh) and not FULL:
        pytest.skip("part of `make test-faults`")
    if fresh:
        freshen(shop)
    asleep = shop.directory / "asleep"

    async def story() -> None:
        await open_shop(shop)
        heir = await until_ready(shop.start_worker("heir"))
        async with supervised(shop, "zombie", sabotage=[f"suspend-send=5@{asleep}"]) as zombie:
            await until_ready(zombie())
            stopped = zombie()
            feeding = load(shop, events=2500, per_second=250)
            async with asyncio.timeout(60):
                while not asleep.exists():
                    await asyncio.sleep(0.1)
            await asyncio.sleep(2 * SESSION_SECONDS)
            await feeding
            await assert_clean(shop, exactly_once=exactly_once)  # the heir has done it all
            stopped.signal(signal.SIGCONT)
            await asyncio.sleep(5)
            if not exactly_once:
                await until_written_over(heir)
            verdict = await assert_clean(shop, exactly_once=exactly_once)
            assert verdict["stale_at_end"] == 0
            if not exactly_once:
                assert verdict["regress"] > 0, "the late write has arrived"

    asyncio.run(story())


def test_t9_a_late_write_that_nobody_is_there_to_see_is_repaired_at_recovery(shop: Shop) -> None:
    """As above, but the heir is gone when the late write comes.

    The next owner finds it in the changelog.
    """
    asleep = shop.directory / "asleep"

    async def story() -> None:
        await open_shop(shop)
        heir = await until_ready(shop.start_worker("heir"))
        async with supervised(shop, "zombie", sabotage=[f"suspend-send=5@{asleep}"]) as zombie:
            stopped = await until_ready(zombie())
            feeding = load(shop, events=2500, per_second=250)
            async with asyncio.timeout(60):
                while not asleep.exists():
                    await asyncio.sleep(0.1)
            await asyncio.sleep(2 * SESSION_SECONDS)
            await feeding
            await assert_clean(shop)
            heir.kill()
            stopped.signal(signal.SIGCONT)
            # it learns that it was superseded, and its supervisor starts it again
            async with asyncio.timeout(60):
                while zombie() is stopped:
                    await asyncio.sleep(0.1)
            await until_ready(zombie())
            verdict = await assert_clean(shop)
            assert verdict["regress"] > 0, "the late write has arrived"
            assert verdict["stale_at_end"] == 0

    asyncio.run(story())


async def until_written_over(heir: Worker) -> None:
    async with asyncio.timeout(60):
        while heir.metric("pprm_foreign_writes_total") == 0:
            await asyncio.sleep(0.5)


@only_in_full
def test_t12_a_model_slower_than_the_session_holds_up_but_loses_nothing(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        slow = f"slow-batch=5:{2.5 * SESSION_SECONDS}@{shop.directory / 'slow'}"
        await until_ready(shop.start_worker("slow", [slow]))
        feeding = load(shop, events=3000, per_second=200)
        await asyncio.sleep(4)
        await until_ready(shop.start_worker("other"))  # a rebalance while the model thinks
        await feeding
        await assert_clean(shop)
        assert (shop.directory / "slow").exists()

    asyncio.run(story())


def test_t17_sigterm_under_load_ends_within_the_grace_time(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        feeding = load(shop, events=size(2000, 4000), per_second=300)
        for _ in range(size(2, 4)):
            worker = await until_ready(shop.start_worker())
            await asyncio.sleep(1.5)
            # waits 30 s, Kubernetes' grace time
            assert await asyncio.to_thread(worker.terminate) == 0
        shop.start_worker()
        await feeding
        verdict = await assert_clean(shop)
        assert verdict["duplicate_output"] == 0, "a clean stop repeats nothing"

    asyncio.run(story())
