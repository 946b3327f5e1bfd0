"""What becomes of the records of the products topic."""

import asyncio
from typing import Any, Literal

import orjson
import pytest

from pprm.catalogue.catalogue import Product
from tests.unit.pipeline.fakes import model_of
from worker.kafka.batches import Record
from worker.ops import metrics
from worker.ops.health import Health
from worker.pipeline.catalogue import Changes
from worker.pipeline.gate import Gate
from worker.pipeline.products import ProductFeed


class Catalogue:
    dimensions = 8

    def __init__(self) -> None:
        self.ids: list[str] = []


class Encoder:
    """Knows every text."""

    is_loaded = True

    def unknown(self, texts: Any) -> list[str]:
        return []


class Recommender:
    """Knows all products it ever heard of; those that are not withdrawn are available."""

    encoder = Encoder()

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self.products: dict[str, Product | None] = {}

    def texts(self, changes: Changes) -> list[str]:
        return []

    def change(self, changes: Changes) -> tuple[int, int]:
        self.products |= changes
        self.catalogue.ids = list(self.products)
        return sum(map(bool, self.products.values())), len(self.products)


class Shop:
    """What reads the products of a worker."""

    def __init__(self, on_invalid: Literal["keep", "withdraw"] = "keep") -> None:
        self.recommender, self.health, self.metrics = Recommender(), Health(), metrics.create()
        self.gate = Gate(self.health, answers_without_products=False)
        model = model_of(self.recommender)
        self.feed = ProductFeed(on_invalid, model, self.gate, self.health, self.metrics)

    def available(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "pprm_catalogue_products", {"state": "available"}
        )


def record(key: str, value: bytes | None, offset: int = 0, partition: int = 0) -> Record:
    return Record(
        "products", partition, offset, 1_500_000_000_000 + offset, 0, key.encode(), value, ()
    )


def product(key: str) -> bytes:
    return orjson.dumps({"product_id": key, "title": "Bread"})


def test_a_product_that_cannot_be_read_is_kept_or_withdrawn_as_the_shop_chose() -> None:
    for on_invalid, change in (("keep", None), ("withdraw", ("p1", None))):
        shop = Shop(on_invalid)  # type: ignore[arg-type]
        assert shop.feed.decoder()(record("p1", b"{")) == change
        assert shop.health.unread_products == (on_invalid == "keep")
    assert shop.feed.decoder()(record("", b"{")) is None, "there is nothing to withdraw"


def test_an_older_record_of_a_product_is_none() -> None:
    decode = Shop().feed.decoder()
    assert decode(record("p1", None, 9, partition=1)) == ("p1", None)
    assert decode(record("p1", product("p1"), 5, partition=0)) is None


def test_a_topic_made_anew_withdraws_what_only_the_one_before_held() -> None:
    shop = Shop()
    changes = dict(filter(None, map(shop.feed.decoder(), [record(k, product(k)) for k in "ab"])))

    async def story() -> None:
        assert await shop.feed.apply(changes, 2) == 2
        assert not shop.gate.is_open
        await shop.feed.is_read({"a", "b"})
        assert shop.gate.is_open and shop.health.catalogue_read and shop.available() == 2
        await shop.feed.is_read({"b"})

    asyncio.run(story())
    assert shop.recommender.products["a"] is None and shop.available() == 1
    assert shop.gate.is_open


@pytest.mark.parametrize("count", [0, 3])
def test_records_are_counted(count: int) -> None:
    shop = Shop()
    asyncio.run(shop.feed.apply({}, count))
    value = shop.metrics.registry.get_sample_value
    assert value("pprm_catalogue_records_total") == count
