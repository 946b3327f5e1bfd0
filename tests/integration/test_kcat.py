"""The same topics with a client of another family: Debian's kcat (librdkafka) publishes and reads."""

import asyncio
import json
import shutil
import subprocess

import pytest

from schemas import Recommendation
from tests.integration.shop import Shop, product, purchase

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
]


def kcat(shop: Shop, family: str, *arguments: str, text: str = "") -> str:
    command = ["kcat", "-q", "-b", shop.broker, "-t", shop.topic(family), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=30).stdout


def test_kcat_publishes_a_purchase_and_reads_a_valid_list(shop: Shop, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["broker"] == "embedded":
        pytest.skip("librdkafka 2.0 cannot read the embedded broker's answer to ApiVersions")

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        shop.start_worker().wait_until_ready()
        key, value = purchase("ida", "p4", 1)
        lines = f"{key}|{json.dumps(value)}\n"
        kcat(shop, "purchases", "-P", "-K", "|", "-X", "topic.partitioner=murmur2_random", text=lines)
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


def _browse() -> dict[str, str]:
    value = purchase("ida", "p4", 2)[1]
    return {name: value[name] for name in ("event_id", "user_id", "product_id", "occurred_at")} | {"action": "view"}
