"""A shop's own tables: trained on, judged with another shop's model, published to the topics."""

import asyncio
import csv
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pprm.data import table
from pprm.state import user_state
from tests.integration.shop import Shop
from tests.unit.small_shop import dataset
from worker.cli import backfill
from worker.cli.published import Published
from worker.cli.send import dress
from worker.settings import client_settings

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
            writer.writerow(
                [p.product_id, p.title, " > ".join(p.categories), p.brand, str(p.available).lower()]
            )
    with events.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "product_id", "occurred_at", "kind", "basket_id", "store_id"])
        for user, product, basket, time in zip(
            shop.user, shop.product, shop.basket, shop.time, strict=True
        ):
            at = datetime.fromtimestamp(int(time), UTC).isoformat()
            who = shop.users[user], shop.products[product].product_id, at
            writer.writerow([*who, "purchase", shop.baskets[basket], "s1"])
            if int(basket) % 5 == 0:
                writer.writerow([*who, "view", "", ""])
    return ["--events", str(events), "--products", str(products)]


def pprm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_a_shop_trains_on_its_tables_from_nothing_or_from_another_shops_model(
    tmp_path: Path,
) -> None:
    options = tables(tmp_path)
    fresh, moved = tmp_path / "fresh", tmp_path / "moved"
    trained = pprm("train", "--out", str(fresh), *options)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert {"second_stage.safetensors", "tables.safetensors", "README.md"} <= {
        path.name for path in fresh.iterdir()
    }
    learned_on = pprm("train", "--out", str(moved), "--start", str(BUNDLED), *options)
    assert learned_on.returncode == 0, learned_on.stdout + learned_on.stderr
    report = tmp_path / "report.json"
    kinds = ("--models", "frozen,young,unseen")
    judged = pprm("evaluate", str(BUNDLED), *options, *kinds, "--report", str(report))  # zero-shot
    assert judged.returncode == 0, judged.stdout + judged.stderr
    for said in (trained.stdout, judged.stdout):
        assert "events.csv: " in said and " rows read, all taken" in said
    found = orjson.loads(report.read_bytes())
    assert 0 <= found["PPRM"]["all"]["ndcg_at_10"] <= 1 and "PPRM, 4 purchases known" in found


def test_wrong_tables_end_with_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,product_id,occurred_at\n1,2,yesterday\n")
    (tmp_path / "products.csv").write_text("product_id,title\n2,bread\n")
    options = [
        "--events",
        str(tmp_path / "events.csv"),
        "--products",
        str(tmp_path / "products.csv"),
    ]
    text = pprm("train", "--out", str(tmp_path / "model"), *options)
    assert text.returncode == 2 and "events.csv" in text.stderr and "occurred_at" in text.stderr
    text = pprm("train", "--out", str(tmp_path / "model"), "--events", str(tmp_path / "events.csv"))
    assert text.returncode == 2 and "--products" in text.stderr


HISTORY = 200
"""Purchases of one shopper: more than the state knows by their ids."""


def history(directory: Path, wrong: int | None = None) -> list[str]:
    """One shopper's purchases and another's, in no order, one row of which may be wrong.

    Returns the options.
    """
    rows = [f"u{n % 10 == 9:d},p{n % 40},{BEGIN + 3600 * n}" for n in range(HISTORY)]
    if wrong is not None:
        rows[wrong] = rows[wrong].rsplit(",", 1)[0] + ",yesterday"
    random.Random(0).shuffle(rows)
    (directory / "events.csv").write_text(
        "user_id,product_id,occurred_at\n" + "\n".join(rows) + "\n"
    )
    products = "".join(f"p{n},FLUID MILK WHITE ONLY\n" for n in range(40))
    (directory / "products.csv").write_text("product_id,title\n" + products)
    (directory / "users.csv").write_text("user_id,city\nu0,Oslo\nu1,Rome\n")
    return [f"--{table}={directory / file}" for table, file in
            (("events", "events.csv"), ("products", "products.csv"), ("users",
            "users.csv"))]  # fmt: skip


BEGIN = 1_500_000_000


def settings(shop: Shop, directory: Path) -> list[str]:
    config = directory / "settings.toml"
    config.write_text(f'[topics]\nprefix = "{shop.name}-"\npartitions = 2\n')
    return ["--bootstrap-server", shop.broker, "--config", str(config)]


def content(record: Any) -> dict[str, Any]:
    """A state without what a profile that is published again moves.

    How far the topics were read.
    """
    state = user_state.decode(record.value)
    fields = {
        name: getattr(state, name)
        for name in ("purchases", "baskets", "keys", "newest", "places", "again")
    }
    return fields | {"sequence": state.sequence, "active_at": state.active_at, "text": state.text}


def test_a_backfill_that_is_repeated_changes_no_state(shop: Shop, tmp_path: Path) -> None:
    async def states(folded: int) -> dict[bytes, dict[str, Any]]:
        """Once so many events are folded.

        Each update of a state is in the changelog before it is counted.
        """
        deadline = time.monotonic() + 200
        while worker.metric("pprm_events_consumed_total") < folded:
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.2)
        found = await shop.wait_for(
            "changelog", lambda records: {r.key for r in records} >= {b"u0", b"u1"}
        )
        return {r.key: content(r) for r in found}

    async def story() -> None:
        nonlocal worker
        await shop.create_topics()
        run = partial(asyncio.to_thread, pprm, "backfill")
        checked = await run(*history(tmp_path, wrong=151), "--check")
        assert checked.returncode == 0 and "purchases: 199 would be published" in checked.stdout
        assert not await shop.read("purchases") and not await shop.read("products")
        first = await run(*history(tmp_path, wrong=151), *to)
        assert first.returncode == 0, first.stdout + first.stderr
        assert (
            "left out 1: occurred_at must be like" in first.stdout
            and "purchases: 199 published" in first.stdout
        )
        worker = shop.start_worker(
            RECOMMENDATIONS__SCORE_FROM="2030-01-01T00:00:00Z"
        ).wait_until_live()
        before = await states(201)
        assert before[b"u0"]["purchases"] + before[b"u1"]["purchases"] == 199
        again = await run(*history(tmp_path, wrong=151), *to)
        assert again.returncode == 0 and "purchases: 0 published, 199 were there" in again.stdout
        assert await states(203) == before
        mended = await run(*history(tmp_path), *to)
        assert mended.returncode == 0 and "purchases: 1 published, 199 were there" in mended.stdout
        after = await states(206)
        assert after[b"u0"]["purchases"] + after[b"u1"]["purchases"] == 200
        for partition in (0, 1):
            times = [
                orjson.loads(r.value)["occurred_at"]
                for r in await shop.read("purchases")
                if r.partition == partition
            ]
            assert times[:-1] == sorted(times[:-1])

    to = settings(shop, tmp_path)
    worker: Any = None
    asyncio.run(story())


def test_a_backfill_that_was_ended_in_the_middle_goes_on(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.create_topics()
        client, topic_of, runs = (
            client_settings(shop.settings.kafka),
            shop.settings.topics.name,
            tmp_path / "runs",
        )
        runs.mkdir()

        def end(done: int, total: int) -> None:
            if done >= 100:
                raise KeyboardInterrupt

        history(tmp_path)
        rows = table.read(tmp_path / "events.csv", tmp_path / "products.csv")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(backfill, "AT_ONCE", 50)
            await backfill.publish(client, topic_of, backfill.prepare(rows, runs), Published(), end)
        assert len(await shop.wait_for("purchases", lambda found: found, 30)) < HISTORY
        done = await asyncio.to_thread(pprm, "backfill", *history(tmp_path), *to)
        assert done.returncode == 0, done.stdout + done.stderr
        purchases = await shop.wait_for("purchases", lambda found: len(found) >= HISTORY, 30)
        assert (
            len({orjson.loads(r.value)["event_id"] for r in purchases}) == len(purchases) == HISTORY
        )

    to = settings(shop, tmp_path)
    asyncio.run(story())


def test_what_a_topic_no_longer_holds_is_not_published_again(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.create_topics()
        done = await asyncio.to_thread(pprm, "backfill", *history(tmp_path), *to)
        assert done.returncode == 0, done.stdout + done.stderr
        admin = AIOKafkaAdminClient(bootstrap_servers=shop.broker)
        await admin.start()
        try:
            partition = TopicPartition(
                shop.topic("purchases"), max(r.partition for r in await shop.read("purchases"))
            )
            await admin.delete_records({partition: RecordsToDelete(before_offset=1)})
        finally:
            await admin.close()
        refused = await asyncio.to_thread(pprm, "backfill", *history(tmp_path), *to)
        assert refused.returncode == 2 and "--since" in refused.stderr
        later = f"--since={datetime.fromtimestamp(BEGIN + 3600 * 150, UTC).isoformat()}"
        done = await asyncio.to_thread(pprm, "backfill", *history(tmp_path), *to, later)
        assert done.returncode == 0 and "purchases: 0 published, 50 were there" in done.stdout

    if not shop.is_apache:
        pytest.skip("the embedded broker deletes nothing")
    to = settings(shop, tmp_path)
    asyncio.run(story())


def test_what_was_aborted_was_not_published(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.create_topics()
        history(tmp_path)
        (tmp_path / "runs").mkdir()
        rows = table.read(tmp_path / "events.csv", tmp_path / "products.csv")
        messages = list(backfill.prepare(rows, tmp_path / "runs").messages())
        producer = AIOKafkaProducer(
            bootstrap_servers=shop.broker, transactional_id=f"{shop.name}-upstream"
        )
        await producer.start()
        try:
            for family, fields in messages:
                await producer.begin_transaction()
                message = dress(family, fields)
                await producer.send_and_wait(shop.topic(family), message.value, message.key)
                await (
                    producer.abort_transaction()
                    if family == "purchases"
                    else producer.commit_transaction()
                )
        finally:
            await producer.stop()
        done = await asyncio.to_thread(pprm, "backfill", *history(tmp_path), *to)
        assert done.returncode == 0 and "purchases: 200 published" in done.stdout, (
            done.stdout + done.stderr
        )
        assert "were there" not in done.stdout

    if not shop.is_apache:
        pytest.skip("the embedded broker has no transactions")
    to = settings(shop, tmp_path)
    asyncio.run(story())


def test_a_backfill_says_what_is_wrong_and_publishes_nothing(shop: Shop, tmp_path: Path) -> None:
    to = settings(shop, tmp_path)
    missing = pprm("backfill", *history(tmp_path), *to)
    assert missing.returncode == 2 and "no such topic; run `pprm topics create`" in missing.stderr
    asyncio.run(shop.create_topics())
    options = history(tmp_path)
    (tmp_path / "events.csv").write_text("user_id,product_id,occurred_at\n")
    empty = pprm("backfill", *options, *to)
    assert empty.returncode == 2 and "there are no rows in it" in empty.stderr
    assert not asyncio.run(shop.read("products"))


def test_tables_are_published_as_any_producer_would(shop: Shop, tmp_path: Path) -> None:
    async def story() -> None:
        await shop.create_topics()
        done = await asyncio.to_thread(
            pprm,
            "backfill",
            *tables(tmp_path, visits=40),
            "--broker",
            shop.broker,
            "--config",
            str(config),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        purchases = await shop.wait_for("purchases", lambda found: len(found) >= 40, 30)
        views = await shop.wait_for("browses", lambda found: len(found) >= 5, 30)
        products = await shop.wait_for("products", lambda found: len(found) == 60, 30)
        first = orjson.loads(purchases[0].value)
        assert first["store_id"] == "s1" and first["basket_id"].startswith("b")
        assert {orjson.loads(view.value)["action"] for view in views} == {"view"} and len(
            products
        ) == 60

    config = tmp_path / "settings.toml"
    config.write_text(f'[topics]\nprefix = "{shop.name}-"\npartitions = 2\n')
    asyncio.run(story())
