"""One shopper, written to two partitions.

Forgotten in both, and with `any` one state for all that comes.
"""

import asyncio
import json
from typing import Any

import pytest

from pprm.state import user_state
from pprm.state.watermarks import RECORD
from tests.integration.shop import PARTITIONS, Shop, product, purchase
from worker.kafka.partitioner import partition_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ANN = "ann"
HOME = partition_of("murmur2", ANN.encode(), PARTITIONS)
ELSEWHERE = 1 - HOME


@pytest.fixture(params=["at_least_once", "exactly_once"], autouse=True)
def delivery(request: pytest.FixtureRequest, shop: Shop) -> None:
    if request.param == "exactly_once" and not shop.is_apache:
        pytest.skip("the embedded broker has no transactions")
    shop.extra["PPRM_DELIVERY"] = request.param


async def put(shop: Shop, partition: int, family: str, value: Any, headers: Any = ()) -> Any:
    """Publish a record of Ann's where another client would."""
    async with shop.producer() as producer:
        sent = None if value is None else json.dumps(value).encode()
        return await producer.send_and_wait(
            shop.topic(family), sent, ANN.encode(), partition=partition, headers=list(headers)
        )


async def newest(shop: Shop, family: str) -> dict[int, Any]:
    """Ann's last record in each partition of a topic that has one."""
    return {
        record.partition: record for record in await shop.read(family) if record.key == ANN.encode()
    }


async def until(shop: Shop, family: str, done: Any) -> dict[int, Any]:
    await shop.wait_for(
        family, lambda found: done({r.partition: r for r in found if r.key == ANN.encode()}), 60
    )
    return await newest(shop, family)


def test_a_null_forgets_what_two_partitioners_have_made(shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        shop.start_worker().wait_until_ready()
        for number, partition in enumerate((HOME, ELSEWHERE, ELSEWHERE)):
            await put(shop, partition, "purchases", purchase(ANN, f"p{number}", number)[1])
        await until(shop, "recommendations", lambda found: len(found) == 2)
        await put(shop, ELSEWHERE, "users", None)
        gone = lambda found: [record.value for record in found.values()] == [None, None]  # noqa: E731
        await until(shop, "recommendations", gone)
        states = [
            user_state.decode(record.value) for record in (await newest(shop, "changelog")).values()
        ]
        assert len(states) == 2 and not any(
            state.purchases or state.text or state.sequence for state in states
        )
        await put(shop, HOME, "purchases", purchase(ANN, "p4", 9)[1])
        back = (await until(shop, "recommendations", lambda found: found[HOME].value is not None))[
            HOME
        ]
        # two purchases here, and the null that lies elsewhere
        assert json.loads(back.value)["version"] == 3 * RECORD

    asyncio.run(story())


def test_with_any_all_comes_to_one_state_and_lists_name_the_originals(shop: Shop) -> None:
    shop.extra["PPRM_TOPICS__PARTITIONER"] = "any"

    async def story() -> None:
        await shop.create_topics()
        await shop.publish("products", [product(i) for i in range(15)])
        worker = shop.start_worker().wait_until_ready()
        trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        for number in range(10):
            at = number % PARTITIONS
            sent = await put(shop, at, "purchases", purchase(ANN, f"p{number}", number)[1], [trace])
            answer = await shop.wait_for_answer(sent, ANN)
            assert (answer["trigger"]["partition"], answer["trigger"]["event_id"]) == (
                at,
                f"e{number}",
            )
        assert (
            worker.metric("pprm_events_misplaced_total") == 0
            and worker.metric("pprm_events_rekeyed_total") == 5
        )
        lists = [
            record for record in await shop.read("recommendations") if record.key == ANN.encode()
        ]
        assert {record.partition for record in lists} == {HOME} and all(
            trace in record.headers for record in lists
        )
        versions = [json.loads(record.value)["version"] for record in lists]
        assert versions == sorted(versions) and len(set(versions)) == 10
        (state,) = (await newest(shop, "changelog")).values()
        assert user_state.decode(state.value).purchases == 10 and state.partition == HOME

    asyncio.run(story())
