"""The first act: catalogue and purchases until October as a backfill, then each household's first list."""

import asyncio
from collections.abc import Sequence
from itertools import chain

from worker.demo import announcements, data, processes, records
from worker.demo.data import Shop
from worker.demo.progress import Step
from worker.demo.stage import Stage

CHUNK = 50
"""Households whose backfill is encoded and sent at once."""


async def worker_ready(stage: Stage) -> None:
    """Wait for the worker, which loads while the data is read."""
    with stage.progress.step("worker ready") as step:
        await processes.until_ready(stage.worker)
        step.detail = stage.progress.metrics_url


async def publish(stage: Stage) -> Shop:
    """Read the data, publish products, then purchases before November."""
    progress = stage.progress
    with progress.step("data") as step:
        shop = await asyncio.to_thread(data.load, stage.options.households)
        progress.households = len(shop.history)
        progress.titles = {product.product_id: product.title for product in shop.products}
        step.detail = f"{progress.households:,} households of The Complete Journey"
    with progress.step("catalogue") as step:
        await announcements.publish_catalogue(stage, shop)
        step.detail = f"{len(shop.products):,} products, {len(shop.universe):,} of them candidates"
    with progress.step("backfill until October") as step:
        await _backfill(stage, shop, step)
    return shop


async def _backfill(stage: Stage, shop: Shop, step: Step) -> None:
    """Household by household, so that the worker writes each one's state a few times, not thousands of times."""
    histories = list(shop.history.values())
    for begin in range(0, len(histories), CHUNK):
        visits = chain.from_iterable(histories[begin : begin + CHUNK])
        past = (visit for visit in visits if visit.time < data.BEGIN)
        rows = list(chain.from_iterable(map(records.visit_rows, past)))
        await stage.publisher.send(stage.topic("purchases"), rows)
        stage.progress.backfill_events += len(rows)
        step.detail = f"{stage.progress.backfill_events:,} purchases"


async def first_lists(stage: Stage, shop: Shop) -> None:
    """Wait until the past is folded, then publish the profiles: they are events, so each household gets a list."""
    progress = stage.progress
    with progress.step("backfill folded") as step:
        while (folded := await _folded(stage)) < progress.backfill_events:
            step.detail = f"{folded:,} of {progress.backfill_events:,}"
            await asyncio.sleep(0.1)
        step.detail = f"{folded:,} purchases"
    with progress.step("first lists") as step:
        first, *others = shop.history
        await _introduce(stage, shop, [first])  # alone: together with all others it would wait for their scores
        await _introduce(stage, shop, others)
        step.detail = f"{len(shop.history):,} households"


async def _introduce(stage: Stage, shop: Shop, names: Sequence[str]) -> None:
    rows = [records.user_row(name, shop.profiles.get(name, {}), data.BEGIN) for name in names]
    await stage.publisher.send(stage.topic("users"), rows)
    await asyncio.gather(*map(stage.progress.lists.answer, names))


async def _folded(stage: Stage) -> int:
    """Purchases taken so far: micro-batches follow one another, so an event published now finds them folded."""
    sample = f'pprm_events_consumed_total{{topic="{stage.topic("purchases")}"}}'
    return int(await processes.metric(stage.worker, sample))
