"""What the demo publishes is what the worker reads, and what the model was trained on."""

from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from msgspec.structs import astuple

from pprm.catalogue.promotions import ENTRY, MAILER
from pprm.catalogue.texts import profile_text
from pprm.core.events import Interaction, Kind, Profile
from pprm.core.ids import stable_hash
from pprm.data.dataset import ShopProduct
from pprm.state.user_state import store_code
from schemas.browses import Browse
from schemas.purchases import Purchase
from schemas.users import User
from worker.demo import wire_rows
from worker.demo.households import DemoVisit
from worker.pipeline import codec
from worker.runtime.delivery import Row

AT = 1_509_500_000


def record(topic: str, row: Row) -> SimpleNamespace:
    return SimpleNamespace(
        topic=topic,
        partition=0,
        offset=0,
        key=row.key,
        value=row.value,
        timestamp=AT * 1000,
        headers=(),
    )


@pytest.mark.parametrize(("family", "model"), [("purchases", Purchase), ("browses", Browse)])
def test_visits_follow_the_contract(family: str, model: type[Purchase | Browse]) -> None:
    rows = wire_rows.visit_rows(DemoVisit(AT, "7", family, ("11", "12"), "b1"))
    messages = [model.model_validate_json(row.value or b"") for row in rows]
    assert [(m.user_id, m.product_id, int(m.occurred_at.timestamp())) for m in messages] == [
        ("7", "11", AT),
        ("7", "12", AT),
    ]
    assert len({message.event_id for message in messages}) == 2
    decoded = codec.decode(family, record(family, rows[0]), AT)
    assert isinstance(decoded, codec.Decoded)
    assert decoded.event.time == AT


def test_a_basket_is_one_basket() -> None:
    (row,) = wire_rows.visit_rows(DemoVisit(AT, "7", "purchases", ("11",), "b1"))
    decoded = codec.decode("purchases", record("purchases", row), AT)
    assert isinstance(decoded, codec.Decoded)
    assert astuple(decoded.event)[1:5] == (Kind.PURCHASE, stable_hash("11"), AT, stable_hash("b1"))


def test_every_simulated_event_says_so() -> None:
    rows = wire_rows.visit_rows(DemoVisit(AT, "7", "browses", ("11", "12", "13"), "look-b1"))
    assert [orjson.loads(row.value or b"")["attributes"] for row in rows] == [
        {"source": "simulated"}
    ] * 3


def test_purchases_are_not_marked_as_simulated() -> None:
    (row,) = wire_rows.visit_rows(DemoVisit(AT, "7", "purchases", ("11",), "b1"))
    assert "attributes" not in orjson.loads(row.value or b"")


@pytest.mark.parametrize("attributes", [{}, {"kids count": "2", "age": "45-54"}])
def test_a_profile_reads_as_in_training(attributes: dict[str, str]) -> None:
    row = wire_rows.user_row("7", attributes, AT)
    User.model_validate_json(row.value or b"")
    decoded = codec.decode("users", record("users", row), AT)
    assert isinstance(decoded, codec.Decoded)
    assert isinstance(decoded.event, Profile)
    assert (decoded.event.time, decoded.event.text) == (AT, profile_text(None, attributes))


@pytest.mark.parametrize("available", [True, False])
def test_a_product_reads_as_in_training(available: bool) -> None:
    product = ShopProduct(
        "11",
        "ICE",
        ["GROCERY", "FRZN ICE", "ICE"],
        "manufacturer 2",
        {"brand": "National"},
        available,
    )
    row = wire_rows.product_row(product, np.zeros(0, ENTRY), {})
    assert codec.decode_product(record("products", row), 3) == ("11", product.to_catalogue())


def test_promotions_read_as_in_training() -> None:
    product = ShopProduct("11", "ICE", ["ICE"], "", {}, True)
    stores = {store_code(name): name for name in ("s1", "s2", "s3")}
    entries = [(AT, AT + 7, code, bits) for code, bits in zip(stores, (1, 6, 1), strict=True)]
    entries.append((AT - 7, AT, store_code("s1"), MAILER))
    row = wire_rows.product_row(product, np.array(entries, ENTRY), stores)
    _, read = codec.decode_product(record("products", row), 3)  # type: ignore[misc]
    assert read and sorted(read.promotions) == sorted(entries)
    assert len(orjson.loads(row.value or b"")["promotions"]) == 3, (
        "stores that do the same share one promotion"
    )


def test_a_purchase_knows_its_store() -> None:
    (row,) = wire_rows.visit_rows(DemoVisit(AT, "7", "purchases", ("11",), "b1", "s9"))
    decoded = codec.decode("purchases", record("purchases", row), AT)
    assert isinstance(decoded, codec.Decoded) and isinstance(decoded.event, Interaction)
    assert decoded.event.store == store_code("s9")
