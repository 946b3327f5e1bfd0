"""What becomes of the records of the products topic."""

import asyncio
from typing import Any, Literal

import orjson
import pytest

from pprm.catalogue.catalogue import Product
from pprm.core.ids import stable_hash
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

    def available(self, names: Any) -> list[str]:
        return [name for name in names if self.products.get(name)]

    def change(self, changes: Changes) -> tuple[int, int]:
        self.products |= changes
        self.catalogue.ids = list(self.products)
        return sum(map(bool, self.products.values())), len(self.products)


class Recalls:
    """Fresh lists that write down what they are told of products."""

    def __init__(self) -> None:
        self.story: list[Any] = []

    def change(self, gone: Any, back: Any, recalled: Any) -> None:
        offsets = {product: trigger.offset for product, trigger in gone.items()}
        self.story.append((offsets, set(back), recalled))

    def catalogue_is_read(self, catalogue: Any) -> None:
        self.story.append("read")


class Shop:
    """What reads the products of a worker."""

    def __init__(self, on_invalid: Literal["keep", "withdraw"] = "keep") -> None:
        self.recommender, self.health, self.metrics = Recommender(), Health(), metrics.create()
        self.gate = Gate(self.health, answers_without_products=False)
        model = model_of(self.recommender)
        self.lists = Recalls()
        self.feed = ProductFeed(
            on_invalid,
            model,
            self.lists,
            self.gate,
            self.health,
            self.metrics,  # type: ignore[arg-type]
        )

    def available(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "pprm_catalogue_products", {"state": "available"}
        )


def record(key: str, value: bytes | None, offset: int = 0, partition: int = 0) -> Record:
    return Record(
        "products", partition, offset, 1_500_000_000_000 + offset, 0, key.encode(), value, ()
    )


def product(key: str, available: bool = True) -> bytes:
    return orjson.dumps({"product_id": key, "title": "Bread", "available": available})


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


def test_lists_are_told_what_is_not_available_by_which_record_and_what_is_so_only_now() -> None:
    shop, a, b, c = Shop(), *map(stable_hash, "abc")
    decode = shop.feed.decoder()

    async def apply(*records: Record) -> None:
        await shop.feed.apply(dict(filter(None, map(decode, records))), len(records))

    async def story() -> None:
        await apply(record("a", product("a"), 0), record("b", product("b"), 1))
        await apply(record("a", None, 2), record("c", None, 3))
        await apply(record("a", None, 4))
        await apply(record("a", product("a"), 5), record("b", product("b"), 6),
                    record("b", product("b", available=False), 7))  # fmt: skip

    asyncio.run(story())
    assert shop.lists.story == [
        ({}, {a, b}, set()),
        ({a: 2, c: 3}, set(), {a}),
        ({a: 4}, set(), set()),
        ({b: 7}, {a}, {b}),
    ]


def test_what_a_topic_made_anew_does_not_hold_is_recalled_without_a_record() -> None:
    shop, a, b = Shop(), *map(stable_hash, "ab")

    async def story() -> None:
        await shop.feed.apply(dict(filter(None, map(
            shop.feed.decoder(), [record("a", product("a")), record("b", product("b"))]
        ))), 2)  # fmt: skip
        await shop.feed.is_read({"b"})

    asyncio.run(story())
    assert shop.lists.story == [({}, {a, b}, set()), ({}, set(), {a}), "read"]
