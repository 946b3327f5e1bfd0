"""The shop's announcements of its products.

They are the catalogue at the start, then each week's promotions when the week begins.
"""

import asyncio

import numpy as np

from pprm.catalogue.promotions import ENTRY
from pprm.data.dataset import PromotedProduct
from worker.demo import processes, records
from worker.demo.context import Stage
from worker.demo.data import Shop

NONE = np.zeros(0, ENTRY)


async def publish_catalogue(stage: Stage, shop: Shop) -> None:
    """Publish all products, with what is promoted when the replay begins."""
    promoted = {said.product: said.entries for said in shop.promotions if said.time <= shop.begin}
    rows = (
        records.product_row(product, promoted.get(number, NONE), shop.dataset.stores)
        for number, product in enumerate(shop.dataset.products)
    )
    await stage.publisher.send(stage.topic("products"), rows)


class Announcer:
    """Publishes each week's promotions before anything of that week happens."""

    def __init__(self, stage: Stage, shop: Shop) -> None:
        self.stage, self.shop = stage, shop
        self.waiting = [said for said in shop.promotions if said.time > shop.begin][::-1]

    async def announce(self, day: int) -> None:
        """Publish what a day begins with, and wait until the worker knows it.

        The day is given as Unix seconds of its start.
        """
        due: list[PromotedProduct] = []
        while self.waiting and self.waiting[-1].time <= day:
            due.append(self.waiting.pop())
        if not due:
            return
        known = await processes.metric(self.stage.worker, processes.TAKEN_IN)
        products, stores = self.shop.dataset.products, self.shop.dataset.stores
        rows = [records.product_row(products[said.product], said.entries, stores) for said in due]
        await self.stage.publisher.send(self.stage.topic("products"), rows)
        while await processes.metric(self.stage.worker, processes.TAKEN_IN) < known + len(rows):
            await asyncio.sleep(0.05)
