"""Batches that hurt whoever reads them: T22 of docs/reliability.md."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.faults import by_hand
from tests.faults.harness import open_shop, until_ready
from tests.integration.shop import Shop, Worker, product, purchase

BOMB_MIB = 600
GROWTH_MIB = 300
"""What the process may take more for it: the bound of 64 MiB, records and copies of what is
fetched."""


def row(record: tuple[str, Any], misnamed: bool = False) -> tuple[bytes, bytes, bool]:
    return record[0].encode(), orjson.dumps(record[1]), misnamed


async def letters(shop: Shop, count: int) -> list[Any]:
    found = await shop.wait_for("dead_letters", lambda found: len(found) >= count)
    assert all(dict(letter.headers)["reason"] == b"unreadable" for letter in found)
    return found


def at(letter: Any) -> tuple[str, int]:
    headers = dict(letter.headers)
    return headers["source_topic"].decode(), int(headers["source_offset"])


@pytest.mark.parametrize("codec", [0, by_hand.GZIP], ids=["", "gzip"])
def test_t22_of_a_header_name_that_is_not_utf8_only_the_record_is_put_aside(
    shop: Shop, exactly_once: bool, codec: int
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        async with shop.producer() as producer:

            async def send(family: str, *rows: tuple[bytes, bytes | None, bool]) -> Any:
                made = by_hand.misnamed(list(rows), codec=codec)
                return await by_hand.send(producer, shop.topic(family), 0, made)

            bought = await send(
                "purchases", row(purchase("ann", "p1", 1)), row(purchase("bob", "p2", 2), True),
                row(purchase("cid", "p3", 3)),
            )  # fmt: skip
            known = await send(
                "users", row(("dan", {"user_id": "dan"})), row(("eve", {"user_id": "eve"}), True)
            )
            listed = await send(
                "products", row(product(40)), row(product(41), True), row(product(42))
            )
            popular = by_hand.misnamed([(b"0", b"no snapshot", True)], codec=codec)
            await by_hand.send(producer, shop.settings.popularity_topic, 0, popular)
        await shop.wait_for(
            "recommendations", lambda found: {b"ann", b"cid", b"dan"} <= {r.key for r in found}
        )
        found = await letters(shop, 3)
        wanted = {
            "purchases": bought.offset + 1,
            "users": known.offset + 1,
            "products": listed.offset + 1,
        }
        assert sorted(map(at, found)) == sorted(
            (shop.topic(family), offset) for family, offset in wanted.items()
        )
        assert {letter.key for letter in found} == {b"bob", b"eve", b"p41"}
        assert all(b"\xff\xfe" in letter.value and letter.key in letter.value for letter in found)
        async with asyncio.timeout(20):
            while worker.metric("pprm_catalogue_records_total") < 32:
                await asyncio.sleep(0.1)
        await _goes_on(shop, worker, 3)

    asyncio.run(story())


async def _goes_on(shop: Shop, worker: Worker, count: int) -> None:
    """The worker is alive, and one that starts now reads all again and repeats no letter."""
    assert worker.alive and await asyncio.to_thread(worker.terminate) == 0
    worker = await until_ready(shop.start_worker())
    (sent,) = await shop.publish("purchases", [purchase("ann", "p5", 99)])
    await shop.wait_for_answer(sent, "ann")
    assert worker.alive and len(await shop.read("dead_letters")) == count


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_t22_such_a_name_from_librdkafka(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("librdkafka 2.0 cannot read the embedded broker's answer to ApiVersions")

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        key, value, _ = row(purchase("bob", "p2", 2))
        command: list[str | bytes] = [
            "kcat",
            "-q",
            "-b",
            shop.broker,
            "-t",
            shop.topic("purchases"),
            "-P",
            "-p",
            "0",
            "-k",
            key,
            "-H",
        ]
        subprocess.run([*command, b"\xff\xfe=x"], input=value, check=True, timeout=30)
        (letter,) = await letters(shop, 1)
        assert letter.key == b"bob" and value in letter.value and b"\xff\xfe" in letter.value
        await _goes_on(shop, worker, 1)

    asyncio.run(story())


def test_t22_a_decompression_bomb_takes_bounded_memory(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("the embedded broker decompresses it, too, without a bound")

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        (sent,) = await shop.publish("purchases", [purchase("ann", "p1", 1)])
        await shop.wait_for_answer(sent, "ann")
        before = peak_mib(worker)
        async with AIOKafkaProducer(
            bootstrap_servers=shop.broker, max_request_size=2 * by_hand.MIB
        ) as producer:
            made = by_hand.bomb(b"bob", BOMB_MIB)
            whole = bytes(made._build())
            where = await by_hand.send(producer, shop.topic("purchases"), sent.partition, made)
            bombed = await by_hand.send(
                producer, shop.topic("products"), 0, by_hand.bomb(b"p9", BOMB_MIB)
            )
        (after,) = await shop.publish("purchases", [purchase("ann", "p2", 2)])
        await shop.wait_for_answer(after, "ann", 60)
        found = await letters(shop, 2)
        grown = peak_mib(worker) - before
        print(f"a bomb of {BOMB_MIB} MiB: {before:.0f} MiB and {grown:.0f} more")
        assert sorted(map(at, found)) == sorted([
            (shop.topic("products"), bombed.offset), (shop.topic("purchases"), where.offset),
        ])  # fmt: skip
        (kept,) = [letter.value for letter in found if at(letter)[0] == shop.topic("purchases")]
        assert kept[by_hand.LENGTH_AT + 8 :] == whole[by_hand.LENGTH_AT + 8 :], (
            "all but what the broker fills in"
        )
        assert grown < GROWTH_MIB
        await _goes_on(shop, worker, 2)

    asyncio.run(story())


def peak_mib(worker: Worker) -> float:
    """The most resident memory that a process has had."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("which", ["purchases", "products", "popularity", "changelog"])
def test_t22_a_fetcher_that_fails_ends_the_worker_with_code_70_and_a_line(
    shop: Shop, which: str
) -> None:
    """Whatever it is that fails, of Faust's consumer and of the plain ones."""
    topic = {"popularity": shop.settings.popularity_topic}.get(which) or shop.topic(which)

    async def story() -> None:
        await open_shop(shop)
        worker = shop.start_worker("worker", [f"fail-fetch={topic}"])
        await shop.publish("purchases", [purchase("ann", "p1", 1), purchase("bob", "p1", 2)])
        assert await asyncio.to_thread(worker.process.wait, 60) == 70
        assert "sabotage: this fetch fails" in worker.tail() and '"exit_code": 70' in worker.tail()

    asyncio.run(story())


def test_t22_a_reader_outside_of_the_worker_is_told_too(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pprm tail` would wait for ever, since aiokafka tells nobody that its fetcher has ended."""
    from tests.faults import sabotage
    from worker.kafka import reader

    async def story() -> None:
        await open_shop(shop)
        consumer = reader.consumer({"bootstrap_servers": shop.broker}, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(shop.topic("products"), 0)])
            with pytest.raises(KafkaError, match="data retrieval"):
                async with asyncio.timeout(10):
                    async for _ in consumer:
                        pass
        finally:
            await consumer.stop()

    monkeypatch.setattr(reader.Fetcher, "_proc_fetch_request", reader.Fetcher._proc_fetch_request)
    sabotage.fail_fetch(shop.topic("products"))
    asyncio.run(story())
