"""A shop's own tables: trained on, judged with another shop's model, published to the topics."""

import asyncio
import csv
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from tests.integration.shop import Shop
from tests.unit.small_shop import dataset

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
BUNDLED = Path(__file__).parents[2] / "pprm" / "artifacts" / "complete-journey"


def tables(directory: Path, visits: int = 500) -> list[str]:
    """The small shop as CSV; returns the options that name it."""
    shop = dataset(visits=visits)
    products, events = directory / "products.csv", directory / "events.csv"
    with products.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "title", "categories", "brand", "available"])
        for p in shop.products:
            writer.writerow([p.product_id, p.title, " > ".join(p.categories), p.brand, str(p.available).lower()])
    with events.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "product_id", "occurred_at", "kind", "basket_id", "store_id"])
        for user, product, basket, time in zip(shop.user, shop.product, shop.basket, shop.time, strict=True):
            at = datetime.fromtimestamp(int(time), UTC).isoformat()
            who = shop.users[user], shop.products[product].product_id, at
            writer.writerow([*who, "purchase", shop.baskets[basket], "s1"])
            if int(basket) % 5 == 0:
                writer.writerow([*who, "view", "", ""])
    return ["--events", str(events), "--products", str(products)]


def pprm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *arguments], capture_output=True, text=True, check=False, timeout=280
    )


def test_a_shop_trains_on_its_tables_from_nothing_or_from_another_shops_model(tmp_path: Path) -> None:
    options = tables(tmp_path)
    fresh, moved = tmp_path / "fresh", tmp_path / "moved"
    trained = pprm("train", "--out", str(fresh), *options)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert {"second_stage.safetensors", "tables.safetensors", "README.md"} <= {path.name for path in fresh.iterdir()}
    learned_on = pprm("train", "--out", str(moved), "--start", str(BUNDLED), *options)
    assert learned_on.returncode == 0, learned_on.stdout + learned_on.stderr
    report = tmp_path / "report.json"
    kinds = ("--models", "frozen,young,unseen")
    judged = pprm("evaluate", str(BUNDLED), *options, *kinds, "--report", str(report))  # zero-shot
    assert judged.returncode == 0, judged.stdout + judged.stderr
    found = orjson.loads(report.read_bytes())
    assert 0 <= found["PPRM"]["all"]["ndcg_at_10"] <= 1 and "PPRM, 4 purchases known" in found


def test_wrong_tables_end_with_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,product_id,occurred_at\n1,2,yesterday\n")
    (tmp_path / "products.csv").write_text("product_id,title\n2,bread\n")
    options = ["--events", str(tmp_path / "events.csv"), "--products", str(tmp_path / "products.csv")]
    said = pprm("train", "--out", str(tmp_path / "model"), *options)
    assert said.returncode == 2 and "events.csv" in said.stderr and "occurred_at" in said.stderr
    said = pprm("train", "--out", str(tmp_path / "model"), "--events", str(tmp_path / "events.csv"))
    assert said.returncode == 2 and "--products" in said.stderr


def test_tables_are_published_as_any_producer_would(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.create_topics()
        done = await asyncio.to_thread(
            pprm, "backfill", *tables(tmp_path, visits=40), "--broker", shop.broker, "--config", str(config)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        purchases = await shop.wait_for("purchases", lambda found: len(found) >= 40, 30)
        views = await shop.wait_for("browses", lambda found: len(found) >= 5, 30)
        products = await shop.wait_for("products", lambda found: len(found) == 60, 30)
        first = orjson.loads(purchases[0].value)
        assert first["store_id"] == "s1" and first["basket_id"].startswith("b")
        assert {orjson.loads(view.value)["action"] for view in views} == {"view"} and len(products) == 60

    config = tmp_path / "settings.toml"
    config.write_text(f'[topics]\nprefix = "{shop.name}-"\npartitions = 2\n')
    asyncio.run(story())
