"""The shop's announcements of its products.

They are the catalogue at the start, then each week's promotions when the week begins.
"""

import asyncio

import numpy as np

from pprm.catalogue.promotions import ENTRY
from pprm.data.dataset import PromotedProduct
from worker.demo import processes, wire_rows
from worker.demo.context import DemoContext
from worker.demo.data import Shop

NONE = np.zeros(0, ENTRY)


async def publish_catalogue(context: DemoContext, shop: Shop) -> None:
    """Publish all products, with what is promoted when the replay begins."""
    entries = {one.product: one.entries for one in shop.promotions if one.time <= shop.begin}
    rows = (
        wire_rows.product_row(product, entries.get(number, NONE), shop.dataset.stores)
        for number, product in enumerate(shop.dataset.products)
    )
    await context.publisher.send(context.topic("products"), rows)


class Announcer:
    """Publishes each week's promotions before anything of that week happens."""

    def __init__(self, context: DemoContext, shop: Shop) -> None:
        self.context, self.shop = context, shop
        self.waiting = [promoted for promoted in shop.promotions if promoted.time > shop.begin][
            ::-1
        ]

    async def announce(self, day: int) -> None:
        """Publish what a day begins with, and wait until the worker knows it.

        The day is given as Unix seconds of its start.
        """
        due: list[PromotedProduct] = []
        while self.waiting and self.waiting[-1].time <= day:
            due.append(self.waiting.pop())
        if not due:
            return
        known = await processes.metric(self.context.worker, processes.TAKEN_IN)
        products, stores = self.shop.dataset.products, self.shop.dataset.stores
        rows = [
            wire_rows.product_row(products[promoted.product], promoted.entries, stores)
            for promoted in due
        ]
        await self.context.publisher.send(self.context.topic("products"), rows)
        while await processes.metric(self.context.worker, processes.TAKEN_IN) < known + len(rows):
            await asyncio.sleep(0.05)
