"""The first act of the demo.

The catalogue and the past are published as a backfill, then each shopper's first list comes.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from itertools import chain

import numpy as np

from schemas.families import EVENTS
from worker.demo import announcements, data, processes, wire_rows
from worker.demo.context import DemoContext, DemoOptions
from worker.demo.data import Shop
from worker.demo.demo_progress import DemoProgress, Step

CHUNK = 50
"""Shoppers whose backfill is encoded and sent at once."""


async def worker_ready(context: DemoContext) -> None:
    """Wait for the worker, which loads while the data is read."""
    with context.progress.step("worker ready") as step:

        def tell(reason: str) -> None:
            step.detail = reason

        await processes.until_ready(context.worker, tell=tell)
        step.detail = context.progress.metrics_url


async def read(options: DemoOptions, progress: DemoProgress) -> Shop:
    """Read the data."""
    with progress.step("data") as step:
        shop = await asyncio.to_thread(data.load, options.source, options.households)
        progress.households, progress.simulates = len(shop.history), shop.simulates
        progress.reading = str(shop.dataset.report)
        progress.names = data.names(shop)
        progress.example = _most_bought(shop)
        step.detail = f"{progress.households:,} shoppers of {shop.dataset.name}"
    return shop


def _most_bought(shop: Shop) -> str:
    bought = shop.dataset.product[shop.dataset.purchases()]
    return shop.dataset.products[int(np.bincount(bought).argmax())].product_id


async def publish(context: DemoContext, reading: Awaitable[Shop]) -> Shop:
    """Publish products, then what was before the replay, as soon as the data is read."""
    shop = await reading
    with context.progress.step("catalogue") as step:
        await announcements.publish_catalogue(context, shop)
        step.detail = (
            f"{len(shop.dataset.products):,} products, {len(shop.universe):,} of them candidates"
        )
    with context.progress.step(f"backfill until {wire_rows.timestamp(shop.begin)}") as step:
        await _backfill(context, shop, step)
    return shop


async def _backfill(context: DemoContext, shop: Shop, step: Step) -> None:
    """Publish the past by shopper, so that each one's state is written a few times only."""
    histories = list(shop.history.values())
    for begin in range(0, len(histories), CHUNK):
        visits = chain.from_iterable(histories[begin : begin + CHUNK])
        past = [visit for visit in visits if visit.time < shop.begin]
        for family in EVENTS:
            rows = [
                row
                for visit in past
                if visit.family == family
                for row in wire_rows.visit_rows(visit)
            ]
            await context.publisher.send(context.topic(family), rows)
            context.progress.backfill_events += len(rows)
        step.detail = f"{context.progress.backfill_events:,} events"


async def first_lists(context: DemoContext, shop: Shop) -> None:
    """Wait until the past is folded, then publish the profiles.

    Profiles are events, so each household gets a list.
    """
    progress = context.progress
    with progress.step("backfill folded") as step:
        while (folded := await _folded(context)) < progress.backfill_events:
            step.detail = f"{folded:,} of {progress.backfill_events:,}"
            await asyncio.sleep(0.1)
        step.detail = f"{folded:,} events"
    with progress.step("catalogue taken in") as step:
        while (known := await processes.metric(context.worker, processes.TAKEN_IN)) < len(
            shop.dataset.products
        ):
            step.detail = f"{known:,.0f} of {len(shop.dataset.products):,} products"
            await asyncio.sleep(0.1)
        step.detail = f"{len(shop.dataset.products):,} products"
    with progress.step("first lists") as step:
        first, *others = shop.history
        # alone: together with all others it would wait for their scores
        await _introduce(context, shop, [first])
        await _introduce(context, shop, others)
        step.detail = f"{len(shop.history):,} shoppers"


async def _introduce(context: DemoContext, shop: Shop, names: Sequence[str]) -> None:
    profiles, about = shop.dataset.profiles, shop.dataset.about
    rows = [
        wire_rows.user_row(name, profiles.get(name, {}), shop.begin, about.get(name))
        for name in names
    ]
    await context.publisher.send(context.topic("users"), rows)
    await asyncio.gather(*map(context.progress.lists.answer, names))


async def _folded(context: DemoContext) -> int:
    """Count the events taken so far.

    Micro-batches follow one another, so an event published now finds them folded.
    """
    samples = (
        f'pprm_events_consumed_total{{topic="{context.topic(family)}"}}' for family in EVENTS
    )
    return int(sum([await processes.metric(context.worker, sample) for sample in samples]))
