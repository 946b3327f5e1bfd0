"""The main job on a real broker.

Plain clients publish and read, a real worker process is between them.
"""

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from pprm.encoders.text_encoder import bundled
from pprm.state import user_state
from schemas.recommendations import Recommendation
from tests.integration.shop import Shop, Worker, product, purchase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


async def opened(shop: Shop, products: int = 30) -> None:
    await shop.create_topics()
    await shop.publish("products", [product(i) for i in range(products)])


def test_a_purchase_is_answered_with_a_valid_list(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop)
        worker = shop.start_worker().wait_until_ready()
        sent = await shop.publish("purchases", [purchase("ann", "p1", 1), purchase("ann", "p2", 2)])
        answer = await shop.wait_for_answer(sent[-1], "ann")
        listed = Recommendation.model_validate_json(json.dumps(answer))
        assert len(listed.items) == 10 and [item.rank for item in listed.items] == list(
            range(1, 11)
        )
        scores = [item.score for item in listed.items]
        assert scores == sorted(scores, reverse=True)
        assert {item.product_id for item in listed.items if "bought_before" in item.reasons} <= {
            "p1",
            "p2",
        }
        (record, *_) = [r for r in await shop.read("recommendations") if r.key == b"ann"]
        assert dict(record.headers)["ce_type"] == b"com.pprm.recommendation.v1"
        status, metrics = worker.get("/metrics")
        assert status == 200 and "pprm_recommendations_sent_total" in metrics
        assert worker.terminate() == 0
        assert "\x1b" not in worker.log.read_text(), "a log is no terminal"

    asyncio.run(story())


def test_products_come_and_go_while_the_worker_runs(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop, products=10)
        shop.start_worker().wait_until_ready()
        await shop.publish(
            "products", [product(77, title="SAFFRON THREADS", categories=["SPICES", "SAFFRON"])]
        )
        await shop.publish("products", [("p3", None), product(4, available=False)])
        sent, found = None, False
        for attempt in range(40):
            (sent,) = await shop.publish("purchases", [purchase("bob", "p1", attempt)])
            items = {
                item["product_id"] for item in (await shop.wait_for_answer(sent, "bob"))["items"]
            }
            found = "p77" in items and not items & {"p3", "p4"}
            if found:
                break
        assert found, items

    asyncio.run(story())


async def until(worker: Worker, reason: str) -> None:
    """Wait until the worker is not ready for this reason."""
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError):
                status, body = await asyncio.to_thread(worker.get, "/ready")
                if status == 503 and reason in json.loads(body)["reason"]:
                    return
            await asyncio.sleep(0.01)


def test_events_wait_while_there_is_nothing_to_recommend_and_the_worker_says_what_it_waits_for(
    shop: Shop,
) -> None:
    async def story() -> None:
        await shop.create_topics()
        worker = shop.start_worker(RECOMMENDATIONS__EMPTY_CATALOGUE="false")
        await until(worker, "compiling the model's loops")
        await until(worker, "no product is available")
        early = await shop.publish(
            "purchases", [purchase("ann", "p1", 1), purchase("bob", "p2", 2)]
        )
        await shop.publish("products", [product(9, vector=[0.5] * 3), product(8, available=False)])
        await until(
            worker,
            "no product is available (1 product records could not be read, the last because of"
            " vector",
        )
        await shop.publish(
            "products", [product(7, title="SAFFRON THREADS"), product(1), product(2)]
        )
        for sent, user in zip(early, ("ann", "bob"), strict=True):
            assert (await shop.wait_for_answer(sent, user))["items"]
        worker.wait_until_ready()
        await shop.publish("products", [("p7", None), ("p1", None), product(2, available=False)])
        await until(worker, "no product is available")
        (late,) = await shop.publish("purchases", [purchase("ann", "p2", 3)])
        await asyncio.sleep(2)
        assert worker.get("/live")[0] == 200
        assert worker.metric("pprm_recommendations_sent_total") == 2, (
            "it waits as it did at the start"
        )
        await shop.publish("products", [product(2)])
        assert [
            item["product_id"] for item in (await shop.wait_for_answer(late, "ann"))["items"]
        ] == ["p2"]
        assert all(
            json.loads(record.value)["items"] for record in await shop.read("recommendations")
        )
        assert worker.terminate() == 0

    asyncio.run(story())


def test_lists_of_a_burst_flow(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop, products=20)
        burst = [
            purchase(f"shopper-{number}", f"p{number % 20}", number) for number in range(1_200)
        ]
        await shop.publish("purchases", burst)  # all of it waits
        worker = shop.start_worker(sabotage=["slow-list=0.005"]).wait_until_ready()
        async with asyncio.timeout(120):
            while worker.metric("pprm_recommendations_sent_total") < len(burst):
                await asyncio.sleep(0.1)
        together = Counter(
            json.loads(record.value)["generated_at"]
            for record in await shop.read("recommendations")
        )
        assert together.total() == len(burst)
        assert max(together.values()) <= 100, "a quarter of a second of 5 ms each is 50"

    asyncio.run(story())


def test_a_shop_may_ask_for_lists_without_items(shop: Shop) -> None:
    async def story() -> None:
        await shop.create_topics()
        shop.start_worker(RECOMMENDATIONS__EMPTY_CATALOGUE="true").wait_until_ready()
        (sent,) = await shop.publish("purchases", [purchase("ann", "p1", 1)])
        assert (await shop.wait_for_answer(sent, "ann"))["items"] == []

    asyncio.run(story())


@pytest.mark.parametrize("on_invalid", ["keep", "withdraw"])
def test_a_product_that_cannot_be_read_is_kept_or_withdrawn(shop: Shop, on_invalid: str) -> None:
    async def story() -> None:
        await opened(shop, products=3)
        worker = shop.start_worker(PRODUCTS__ON_INVALID=on_invalid).wait_until_ready()
        await shop.publish("products", [("p1", b'{"product_id":"p1","available":fals'), product(9)])
        available = 'pprm_catalogue_products{state="available"} ' + (
            "3.0" if on_invalid == "withdraw" else "4.0"
        )
        async with asyncio.timeout(30):
            while available not in worker.get("/metrics")[1]:
                await asyncio.sleep(0.1)
        (letter,) = await shop.wait_for("dead_letters", bool)
        assert letter.key == b"p1" and dict(letter.headers)["reason"] == b"json"
        (sent,) = await shop.publish("purchases", [purchase("ann", "p0", 1)])
        items = {item["product_id"] for item in (await shop.wait_for_answer(sent, "ann"))["items"]}
        assert ("p1" in items) == (on_invalid == "keep")

    asyncio.run(story())


def test_a_record_time_in_seconds_makes_no_list_as_of_1970(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop, products=3)
        worker = shop.start_worker().wait_until_ready()
        async with shop.producer() as producer:
            value = b'{"user_id":"ann","attributes":{"age":"45-54"},"text":null}'
            send = producer.send_and_wait(
                shop.topic("users"), key=b"ann", value=value, timestamp_ms=1_767_323_045
            )
            await shop.wait_for_answer(await send, "ann")
        state = user_state.decode({r.key: r.value for r in await shop.read("changelog")}[b"ann"])
        assert abs(time.time() - state.active_at) < 3600
        assert worker.metric("pprm_events_mended_total") == 1
        assert worker.metric("pprm_event_time_lag_seconds") < 3600
        assert worker.metric("pprm_end_to_end_latency_seconds_sum") < 3600

    asyncio.run(story())


def test_what_cannot_be_read_goes_to_the_dead_letters_and_its_neighbours_do_not(shop: Shop) -> None:
    poison: list[tuple[str | None, object]] = [
        ("cid", b"{not json"),
        ("cid", b"\xff\xfe"),
        ("cid", None),
        (None, purchase("cid", "p1", 1)[1]),
        ("somebody else", purchase("cid", "p1", 1)[1]),
        ("cid", purchase("cid", "p1", 1, at="2090-01-01T00:00:00Z")[1]),
        ("cid", purchase("cid", "p1", 1, quantity=-2e6)[1]),
        ("cid", b"[" * 5000),
        ("cid", b'"' + b"x" * 70_000 + b'"'),
        ("cid", b"x" * 900_000),
    ]

    async def story() -> None:
        await opened(shop)
        shop.start_worker().wait_until_ready()
        mixed = [purchase("cid", "p2", 100), *poison, purchase("cid", "p5", 101)]
        sent = await shop.publish("purchases", mixed)
        await shop.publish("products", [("p9", b"no product"), product(9, vector=[0.5] * 3)])
        await shop.wait_for_answer(sent[-1], "cid")
        letters = await shop.wait_for(
            "dead_letters", lambda records: len(records) > len(poison) + 1
        )
        by_offset = {
            (h["source_topic"].decode(), int(h["source_partition"]), int(h["source_offset"])): (
                r,
                h,
            )
            for r in letters
            for h in [dict(r.headers)]
        }
        assert len(letters) == len(by_offset) == len(poison) + 2
        for (key, value), where in zip(poison, sent[1:-1], strict=True):
            record, headers = by_offset[where.topic, where.partition, where.offset]
            assert record.key == (key and key.encode())
            assert record.value == (
                value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
            )
            assert headers["reason"]
        assert b"vector" in {headers["reason"] for _, headers in by_offset.values()}
        answer = (await shop.lists())["cid"]
        bought = {
            item["product_id"] for item in answer["items"] if "bought_before" in item["reasons"]
        }
        assert bought <= {"p2", "p5"}

    asyncio.run(story())


def test_an_event_published_twice_counts_once_returns_take_back_and_what_is_hidden_never_comes(
    shop: Shop,
) -> None:
    async def story() -> None:
        await opened(shop)
        worker = shop.start_worker().wait_until_ready()

        async def state_after(topic: str, message: tuple[str, object]) -> user_state.UserState:
            (sent,) = await shop.publish(topic, [message])
            await shop.wait_for_answer(sent, "fay")
            return user_state.decode({r.key: r.value for r in await shop.read("changelog")}[b"fay"])

        first = await state_after("purchases", purchase("fay", "p1", 1))
        again = await state_after("purchases", purchase("fay", "p1", 1))
        assert (
            again.version > first.version
            and again.purchases == 1
            and len(again.interactions()) == 1
        )
        assert (await state_after("purchases", purchase("fay", "p2", 2))).purchases == 2
        back = await state_after("purchases", purchase("fay", "p2", 3, kind="return", price=-2.5))
        assert back.purchases == 1 and len(back.product_keys()) == 1
        await state_after("purchases", purchase("fay", "p7", 4, quantity=-1))
        unwanted = [item["product_id"] for item in (await shop.lists())["fay"]["items"][:3]]
        for number, (product_id, action) in enumerate(
            zip(unwanted, ("hide", "dislike", "hide"), strict=True)
        ):
            said = purchase("fay", product_id, 5 + number)[1] | {"action": action}
            await state_after("browses", ("fay", said))
        listed = {item["product_id"] for item in (await shop.lists())["fay"]["items"]}
        assert len(listed) == 10 and not listed & {*unwanted}
        assert worker.metric("pprm_events_without_effect_total") == 2, (
            "the repeat, and the return of what was not bought"
        )

    asyncio.run(story())


def test_a_forgotten_shopper_leaves_nothing_but_watermarks(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop)
        shop.start_worker().wait_until_ready()
        profile = {"user_id": "dan", "attributes": {"age": "45-54"}}
        (told,) = await shop.publish("users", [("dan", profile)])
        # in one micro-batch, one list would answer both, and name the profile
        await shop.wait_for_answer(told, "dan")
        (sent,) = await shop.publish("purchases", [purchase("dan", "p1", 1)])
        await shop.wait_for_answer(sent, "dan")
        await shop.publish("users", [("dan", None)])
        await shop.wait_for(
            "recommendations", lambda records: any(r.value is None for r in records)
        )
        newest = {r.key: r.value for r in await shop.read("changelog")}[b"dan"]
        state = user_state.decode(newest)
        assert not state.purchases and not state.text and not state.sequence and not state.keys

    asyncio.run(story())


def test_events_before_score_from_are_folded_and_not_answered(shop: Shop) -> None:
    async def story() -> None:
        shop.extra["PPRM_RECOMMENDATIONS__SCORE_FROM"] = "2017-11-01T00:00:00Z"
        await opened(shop)
        shop.start_worker().wait_until_ready()
        past = [purchase("eve", f"p{i}", i, at="2017-10-05T10:00:00Z") for i in range(5)]
        await shop.publish("purchases", past)
        (sent,) = await shop.publish("purchases", [purchase("eve", "p6", 9)])
        answer = await shop.wait_for_answer(sent, "eve")
        records = [r for r in await shop.read("recommendations") if r.key == b"eve"]
        assert len(records) == 1
        bought = {
            item["product_id"] for item in answer["items"] if "bought_before" in item["reasons"]
        }
        assert bought & {"p0", "p1", "p2", "p3", "p4"}

    asyncio.run(story())


@pytest.mark.parametrize("moment", ["imports", "broker away", "compiling"])
def test_a_stop_during_the_start_is_a_clean_end(shop: Shop, tmp_path: Path, moment: str) -> None:
    asyncio.run(shop.create_topics())
    if moment == "broker away":
        shop.extra["PPRM_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    if moment == "compiling":
        shop.extra["NUMBA_CACHE_DIR"] = str(tmp_path)
    worker = shop.start_worker()
    if moment == "imports":
        time.sleep(1)
    else:
        worker.wait_until_live()
        time.sleep(1)
    assert worker.terminate() == 0, worker.tail()


def test_topics_that_are_not_cut_alike_are_refused_with_a_clear_message(shop: Shop) -> None:
    from worker.kafka import topics

    async def story() -> None:
        specs = [s for s in topics.plan(shop.settings) if not s.name.endswith("-browses")]
        client = {"bootstrap_servers": shop.broker}
        await topics.create(client, specs)
        await topics.create(client, [topics.TopicSpec(shop.topic("browses"), 3, 1)])
        # a broker makes a topic known a while after it has promised it
        async with asyncio.timeout(20):
            while (await topics.partition_counts(client, [shop.topic("browses")]))[
                shop.topic("browses")
            ] != 3:
                await asyncio.sleep(0.1)
        worker = shop.start_worker()
        assert worker.process.wait(30) != 0
        assert "equal numbers of partitions" in worker.tail()

    asyncio.run(story())


def test_an_unforeseen_error_ends_the_process_before_anything_is_committed(shop: Shop) -> None:
    async def story() -> None:
        await opened(shop)
        encoder = shop.directory / "encoder"  # the right weights, and a tokenizer that is none
        encoder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (encoder / name).symlink_to(bundled() / name)
        (encoder / "tokenizer.json").write_text("{")
        shop.extra["PPRM_MODEL__ENCODER"] = str(encoder)
        worker = shop.start_worker().wait_until_ready()
        await shop.publish(
            "users", [("hal", {"user_id": "hal", "text": "words that only BERT could read"})]
        )
        assert worker.process.wait(30) == 70
        assert "it will be read again" in worker.tail()
        again = shop.start_worker()  # nothing was committed: it meets the same record
        assert again.process.wait(60) == 70
        assert not await shop.read("recommendations") and not await shop.read("changelog")

    asyncio.run(story())
