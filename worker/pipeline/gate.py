"""The gate in front of the micro-batches: whether events are answered, or wait in Kafka."""

import asyncio

import structlog

from worker.ops.health import Health

log = structlog.get_logger(__name__)


class Gate:
    """Open while the catalogue is read, there is something to recommend and somewhere to write it.

    Who learns of one of the three says so here. What events wait for stands in the worker's health.
    """

    def __init__(self, health: Health, answers_without_products: bool) -> None:
        """`answers_without_products`: lists without items are answers, too."""
        self._health = health
        self._answers_without_products = answers_without_products
        self._catalogue_read, self._open = asyncio.Event(), asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether events are answered."""
        return self._open.is_set()

    async def wait(self) -> None:
        """Come back when events are answered."""
        await self._open.wait()

    async def wait_for_catalogue(self) -> None:
        """Come back when the products topic was read to its end once."""
        await self._catalogue_read.wait()

    def catalogue_is_read(self, available: int) -> None:
        """The products topic was read to its end, and so many products are available."""
        self._health.catalogue_read = True
        self._catalogue_read.set()
        self.count_available(available)

    def count_available(self, available: int) -> None:
        """So many products are available now: while there is none, events wait."""
        self._health.nothing_to_recommend = not (available or self._answers_without_products)
        if self._health.nothing_to_recommend and self.is_open:
            log.warning("no product is available any more: events wait in Kafka until one is")
        self._update()

    def can_write(self, can: bool) -> None:
        """Whether all topics can be written to that a micro-batch writes to."""
        self._health.nowhere_to_write = not can
        self._update()

    def _update(self) -> None:
        waits = self._health.nothing_to_recommend or self._health.nowhere_to_write
        if self._catalogue_read.is_set() and not waits:
            self._open.set()
        else:
            self._open.clear()
