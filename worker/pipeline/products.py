"""What the products topic says, taken into the catalogue."""

from time import time
from typing import Literal

import structlog

from pprm.catalogue.catalogue import Product
from pprm.core.ids import stable_hash
from worker.kafka.batches import Record
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.pipeline import codec
from worker.pipeline.catalogue import Change, Changes, Decode
from worker.pipeline.codec import Trigger
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.gate import Gate
from worker.pipeline.model import Model
from worker.pipeline.newest import Newest

log = structlog.get_logger(__name__)


class ProductFeed:
    """The worker's side of `worker.pipeline.catalogue.follow`: decodes and applies."""

    def __init__(
        self,
        on_invalid: Literal["keep", "withdraw"],
        model: Model,
        lists: FreshLists,
        gate: Gate,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """`on_invalid`: what becomes of a product whose record cannot be read."""
        self._on_invalid, self._model, self._lists, self._gate = on_invalid, model, lists, gate
        self._health, self._metrics = health, metrics
        self._available = 0
        self._withdrawals: dict[str, Trigger] = {}
        """The newest record of each product by which it is not available."""

    def decoder(self) -> Decode:
        """Make what decodes the topic's records, from its beginning on."""
        newest = Newest()

        def decode(record: Record) -> Change | None:
            change = self._change(record)
            if not (change and newest.is_newest(change[0], change[1] is None, record, time())):
                return None
            self._note(record, *change)
            return change

        return decode

    def _note(self, record: Record, product_id: str, product: Product | None) -> None:
        """Keep by which record a product is not available."""
        self._withdrawals.pop(product_id, None)
        if not _is_sold(product):
            where = record.topic, record.partition, record.offset
            self._withdrawals[product_id] = Trigger("retraction", *where)

    def _change(self, record: Record) -> Change | None:
        """What a record of the products topic says, None where it is not valid."""
        decoded = codec.decode_product(record, self._model.recommender.catalogue.dimensions)
        if not isinstance(decoded, codec.Invalid):
            return decoded
        if self._on_invalid == "withdraw" and (product_id := codec.readable_key(record)):
            return product_id, None
        self._health.unread_products += 1
        self._health.unread_because = f"{decoded.reason}: {decoded.detail}"
        if decoded.reason == "vector":
            # of another model than ours: our agent may have passed it long ago
            key = codec.readable_key(record)
            log.warning("a product was passed over", key=key, detail=decoded.detail)
        return None

    async def apply(self, changes: Changes, count: int) -> int:
        """Take in what so many records changed; returns how many products are known."""
        recommender = self._model.recommender
        await self._model.encode(recommender.texts(changes))
        gone = {product_id for product_id, product in changes.items() if not _is_sold(product)}

        def change() -> tuple[int, int]:
            before = recommender.available(gone)
            counts = recommender.change(changes)
            self._lists.change(
                {stable_hash(name): self._withdrawals.pop(name)
                 for name in gone & self._withdrawals.keys()},
                map(stable_hash, changes.keys() - gone),
                set(map(stable_hash, before)),
            )  # fmt: skip
            return counts

        self._available, known = await self._model.run(change)
        self._metrics.catalogue_products.labels("available").set(self._available)
        self._metrics.catalogue_products.labels("known").set(known)
        self._metrics.catalogue_records.inc(count)
        self._gate.count_available(self._available)
        return known

    async def is_read(self, products: set[str]) -> None:
        """The topic is read to its end, and these products are in it.

        What is known and not in the topic was in one of the same name, which was deleted.
        """
        recommender = self._model.recommender
        known = await self._model.run(lambda: list(recommender.catalogue.ids))
        if gone := [product_id for product_id in known if product_id not in products]:
            await self.apply(dict.fromkeys(gone), 0)
        log.info("catalogue read", products=len(products), available=self._available)
        self._metrics.catalogue_products.labels("available").set(self._available)
        await self._model.run(lambda: self._lists.catalogue_is_read(recommender.catalogue))
        self._gate.catalogue_is_read(self._available)


def _is_sold(product: Product | None) -> bool:
    """Whether a product may be recommended."""
    return product is not None and product.available
