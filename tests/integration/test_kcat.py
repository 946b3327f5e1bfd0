"""The same topics with a client of another family.

Debian's kcat (librdkafka) publishes and reads.
"""

import asyncio
import json
import shutil
import subprocess

import pytest

from schemas.recommendations import Recommendation
from tests.integration.shop import PARTITIONS, Shop, product, purchase
from worker.kafka.partitioner import partition_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
]


def kcat(shop: Shop, family: str, *arguments: str, text: str = "") -> str:
    command = ["kcat", "-q", "-b", shop.broker, "-t", shop.topic(family), *arguments]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=30
    ).stdout


@pytest.fixture(autouse=True)
def a_broker_it_understands(shop: Shop) -> None:
    if not shop.is_apache:
        pytest.skip("librdkafka 2.0 cannot read the embedded broker's answer to ApiVersions")


def test_kcat_publishes_a_purchase_and_reads_a_valid_list(shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        shop.start_worker().wait_until_ready()
        key, value = purchase("ida", "p4", 1)
        lines = f"{key}|{json.dumps(value)}\n"
        kcat(
            shop, "purchases", "-P", "-K", "|", "-X", "topic.partitioner=murmur2_random", text=lines
        )
        await shop.wait_for("recommendations", lambda records: len(records) == 1)
        read = kcat(shop, "recommendations", "-C", "-o", "beginning", "-e", "-f", "%k|%s\n")
        key, _, value = read.strip().partition("|")
        listed = Recommendation.model_validate_json(value)
        assert key == listed.user_id == "ida" and len(listed.items) == 10
        # kcat's partitioner and aiokafka's agree, so the shopper's next event meets the same state
        (sent,) = await shop.publish("browses", [("ida", {**_browse()})])
        assert sent.partition == listed.trigger.partition
        answer = await shop.wait_for_answer(sent, "ida")
        assert any("bought_before" in item["reasons"] for item in answer["items"])

    asyncio.run(story())


def test_what_kcat_withdraws_by_its_own_partitioner_stays_withdrawn(shop: Shop) -> None:
    """The withdrawal lies in another partition than the product.

    At a start either may be read first.
    """
    there, gone = [f"p{i}" for i in range(10)], [f"p{i}" for i in range(10, 40)]

    async def story() -> None:
        await shop.create_topics()
        sent = await shop.publish("products", [product(i) for i in range(40)])
        kcat(shop, "products", "-P", "-Z", "-K", "|", text="".join(f"{name}|\n" for name in gone))
        tombstones = {
            r.key.decode(): r.partition for r in await shop.read("products") if r.value is None
        }
        moved = [
            name
            for name, at in zip(gone, sent[10:], strict=True)
            if tombstones[name] != at.partition
        ]
        assert tombstones.keys() == set(gone) and len(moved) > 5
        worker = shop.start_worker().wait_until_ready()
        (purchase,) = await shop.publish("purchases", [purchase_of("ida", "p4")])
        answer = await shop.wait_for_answer(purchase, "ida")
        assert sorted(item["product_id"] for item in answer["items"]) == sorted(there)
        assert worker.metric("pprm_events_misplaced_total") == len(moved)

    asyncio.run(story())


def test_purchases_by_kcats_own_partitioner_are_counted_and_told(shop: Shop) -> None:
    users = [f"u{i}" for i in range(20)]
    lines = "".join(f"{user}|{json.dumps(purchase_of(user, 'p4')[1])}\n" for user in users)

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        kcat(shop, "purchases", "-P", "-K", "|", text=lines)
        at = {record.key: record.partition for record in await shop.read("purchases")}
        misplaced = sum(
            partition_of("murmur2", key, PARTITIONS) != partition for key, partition in at.items()
        )
        worker = shop.start_worker().wait_until_ready()
        await shop.wait_for(
            "recommendations", lambda records: len({r.key for r in records}) == len(users)
        )
        assert worker.metric("pprm_events_misplaced_total") == misplaced > 3
        assert worker.log.read_text().count("partitioner=murmur2_random") == 1
        worker.terminate()
        librdkafkas = shop.start_worker(
            "other", TOPICS__PARTITIONER="consistent_random"
        ).wait_until_ready()
        kcat(shop, "purchases", "-P", "-K", "|", text=lines)
        await shop.wait_for("recommendations", lambda records: len(records) >= 2 * len(users))
        assert librdkafkas.metric("pprm_events_misplaced_total") == 0

    asyncio.run(story())


def purchase_of(user: str, product_id: str) -> tuple[str, dict[str, str]]:
    return purchase(user, product_id, 1)


def _browse() -> dict[str, str]:
    value = purchase("ida", "p4", 2)[1]
    return {name: value[name] for name in ("event_id", "user_id", "product_id", "occurred_at")} | {
        "action": "view"
    }
