"""Popularity with several workers: each sees the purchases of all, whoever dies or joins."""

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pprm.catalogue.popularity import decode_snapshot
from pprm.core.ids import stable_hash
from tests.integration.shop import PARTITIONS, Shop, Worker, product, purchase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

DAY = 86_400
FIRST_DAY, DAYS, USERS = 17_475, 8, 30
"""The first is 5 November 2017."""
SNAPSHOT_SECONDS = 0.5


def purchases() -> list[tuple[str, Any]]:
    """Every user buys something every day."""
    made = []
    for day in range(DAYS):
        for user in range(USERS):
            number = day * USERS + user
            at = time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime((FIRST_DAY + day) * DAY + 60 * user)
            )
            made.append(purchase(f"u{user}", f"p{(user * user + day) % 11}", number, at))
    return made


def the_next_day(number: int) -> list[tuple[str, Any]]:
    """One more purchase of everybody, which moves every partition on.

    It counts itself only a day later.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((FIRST_DAY + DAYS) * DAY + 3600 + number))
    return [purchase(f"u{user}", "p1", 10_000 + 100 * number + user, at) for user in range(USERS)]


async def agree(workers: list[Worker], count: int) -> None:
    """Within the snapshot interval, and the time to read one."""
    deadline = time.monotonic() + 20
    while True:
        seen = [
            await asyncio.to_thread(worker.metric, "pprm_popularity_purchases")
            for worker in workers
        ]
        if all(abs(purchases - count) < 0.01 for purchases in seen):
            return
        assert time.monotonic() < deadline, f"{seen}, not {count}"
        await asyncio.sleep(SNAPSHOT_SECONDS)


async def sums_of_snapshots(shop: Shop) -> dict[int, np.ndarray]:
    """The newest snapshots of all partitions, added up."""
    consumer = AIOKafkaConsumer(bootstrap_servers=shop.broker, enable_auto_commit=False)
    await consumer.start()
    tp = TopicPartition(shop.settings.popularity_topic, 0)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    newest = {}
    while fetched := await consumer.getmany(tp, timeout_ms=700):
        for record in fetched[tp]:
            newest[record.key] = decode_snapshot(record.value, FIRST_DAY + DAYS)
    await consumer.stop()
    assert set(newest) == {str(p).encode() for p in range(PARTITIONS)}
    sums: dict[int, np.ndarray] = {}
    for snapshot in newest.values():
        assert snapshot.day == FIRST_DAY + DAYS
        for hashed, counters in zip(snapshot.products.tolist(), snapshot.counters, strict=True):
            sums[hashed] = sums.get(hashed, 0) + counters.astype(float)
    return sums


def recount() -> dict[int, np.ndarray]:
    """The same in plain Python, from the input."""
    had, sums = set[tuple[int, int]](), dict[int, np.ndarray]()
    for day in range(DAYS):
        for user in range(USERS):
            hashed, at = (
                stable_hash(f"p{(user * user + day) % 11}"),
                (FIRST_DAY + day) * DAY + 60 * user,
            )
            age, is_first = FIRST_DAY + DAYS - at / DAY, (user, hashed) not in had
            had.add((user, hashed))
            any_ = np.array([1, 2 ** (-age / 7), 2 ** (-age / 28)])
            last_days = [2.0**-age, 2 ** (-age / 3)]
            sums[hashed] = sums.get(hashed, 0) + np.concatenate([any_, any_ * is_first, last_days])
    return sums


def test_workers_agree_with_the_fold_also_after_a_kill_and_a_rebalance(shop: Shop) -> None:
    shop.extra["PPRM_POPULARITY__SNAPSHOT_SECONDS"] = str(SNAPSHOT_SECONDS)
    before = DAYS * USERS

    async def answered(number: int) -> None:
        sent = await shop.publish("purchases", the_next_day(number))
        wanted = {(f"u{user}".encode(), where.offset) for user, where in enumerate(sent)}

        def done(records: list[Any]) -> bool:
            return wanted <= {(r.key, json.loads(r.value)["trigger"]["offset"]) for r in records}

        await shop.wait_for("recommendations", done, 60)

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(12)])
        a, b = shop.start_worker("a"), shop.start_worker("b")
        for worker in (a, b):
            await asyncio.to_thread(worker.wait_until_ready)
        await shop.publish("purchases", purchases())
        await answered(0)
        await agree([a, b], before)
        sums, wanted = await sums_of_snapshots(shop), recount()
        assert sums.keys() == wanted.keys()
        for hashed, counters in wanted.items():
            assert np.allclose(sums[hashed], counters, rtol=1e-4)
        b.kill()
        await answered(1)
        await agree([a], before)
        c = shop.start_worker("c")
        await asyncio.to_thread(c.wait_until_ready)
        await answered(2)
        await agree([a, c], before)

    asyncio.run(story())
