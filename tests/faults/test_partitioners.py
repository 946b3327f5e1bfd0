"""Producers with different partitioners: T21 of docs/reliability.md."""

import asyncio
import random

from tests.faults.harness import (
    assert_clean,
    kill_and_wait_for_the_next,
    load,
    open_shop,
    size,
    supervised,
    until_ready,
)
from tests.integration.shop import Shop


def test_t21_half_of_the_load_lies_elsewhere_and_workers_are_killed(
    shop: Shop, exactly_once: bool
) -> None:
    """Re-keyed records are forwarded and folded by workers that die at any point.

    Each counts once, in one state.
    """
    shop.extra["PPRM_TOPICS__PARTITIONER"] = "any"
    kills, rng = size(4, 20), random.Random(21)

    async def story() -> None:
        await open_shop(shop)
        feeding = load(shop, events=size(2500, 8000), per_second=150, mixed=True)
        async with supervised(shop, "one") as one, supervised(shop, "other") as other:
            await until_ready(one())
            for number in range(kills):
                await asyncio.sleep(rng.uniform(0.5, 4.0))
                await kill_and_wait_for_the_next(rng.choice([one, other]))
                if number % 3 == 0:
                    await until_ready(one())
            await feeding
            verdict = await assert_clean(shop, exactly_once=exactly_once)
            assert not exactly_once or verdict["duplicate_output"] == 0
            assert len(await shop.read("rekeyed")) > 100
        states = {(r.key, r.partition) for r in await shop.read("changelog")}
        assert len(states) == len({key for key, _ in states})

    asyncio.run(story())
