"""TLS, passwords and rights on Apache Kafka.

A real worker gets in with just what is documented, and says why not.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TransactionalIdAuthorizationFailed

from tests.integration.secured import PASSWORD, Secured, secured_kafka
from tests.integration.shop import Shop, Worker, product, purchase
from worker.kafka import acls, embedded, refusal, topics
from worker.kafka.acls import Acl
from worker.ops.fatal import EXIT_CODE
from worker.settings import Settings, client_settings, load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

APP = "safe"
TOPICS_PREFIX = f"{APP}-"
WRONG = "wr0ng-battery-staple"


def shop_settings(**kafka: str) -> Settings:
    return load({"app_id": APP, "topics": {"prefix": TOPICS_PREFIX}, "kafka": kafka})


RIGHTS = [
    replace(acl, names=(name,), operations=(operation,))
    for acl in acls.needed(shop_settings())
    for name in acl.names
    for operation in acl.operations
]
"""Each single right."""
LACKING = {f"lacking-{number}": right for number, right in enumerate(RIGHTS)}
"""A user for each, who has all the others."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if not os.environ.get("PPRM_TEST_KAFKA"):
        pytest.skip("PPRM_TEST_KAFKA names no Apache Kafka")
    if not shutil.which("keytool"):
        pytest.skip("no keytool: it comes with Java")
    with secured_kafka(tmp_path_factory.mktemp("secured"), ["pprm", *LACKING]) as broker:
        opened = Shop(broker.plain, APP, tmp_path_factory.mktemp("admin"))

        async def prepare() -> None:
            await nothing_is_created_by_asking(opened)
            await opened.create_topics()
            await opened.publish("products", [product(i) for i in range(30)])
            for user, right in LACKING.items():
                await broker.allow(user, [other for other in RIGHTS if other != right])

        asyncio.run(prepare())
        with ThreadPoolExecutor() as java:
            commands = acls.commands(acls.needed(shop_settings()), "User:pprm")
            done = [java.submit(broker.acls, *arguments) for arguments in commands]
            done.append(java.submit(broker.give_scram_password, "pprm"))
        assert not any(future.result() for future in done)
        yield broker


async def nothing_is_created_by_asking(shop: Shop) -> None:
    """The broker would make a topic, not compacted, of every name that a client asks for."""
    client, specs = client_settings(shop.settings.kafka), topics.plan(shop.settings)
    for _ in range(2):
        assert len(await topics.check(client, specs)) == len(specs)
        assert not any(
            (await topics.partition_counts(client, [spec.name for spec in specs])).values()
        )


@pytest.fixture
def shop(kafka: Secured, tmp_path: Path) -> Iterator[Shop]:
    """Clients are administrators', workers are what a test makes of them; everything is logged."""
    shop = Shop(kafka.plain, APP, tmp_path, {"PPRM_LOG__LEVEL": "DEBUG"})
    try:
        yield shop
    finally:
        shop.stop()


def user_settings(kafka: Secured, user: str) -> Settings:
    return shop_settings(
        **{k.removeprefix("PPRM_KAFKA__").lower(): v for k, v in kafka.as_user(user).items()}
    )


def start(shop: Shop, name: str, variables: dict[str, str]) -> Worker:
    shop.extra |= variables
    return shop.start_worker(name)


def assert_no_secret(worker: Worker) -> None:
    said = worker.log.read_bytes()
    for secret in (PASSWORD, WRONG):
        for form in (secret.encode(), secret.encode().hex().encode(), secret.encode("utf-16-le")):
            assert form not in said


@pytest.mark.parametrize(
    ("mechanism", "delivery", "taken"),
    [("PLAIN", "at_least_once", "changelog"), ("SCRAM-SHA-512", "exactly_once", "recommendations")],
)
def test_a_worker_with_just_the_documented_rights_answers_over_tls_and_ends_when_one_is_taken_away(
    shop: Shop, kafka: Secured, mechanism: str, delivery: str, taken: str
) -> None:
    shopper = f"ann-{mechanism}"
    variables = {**kafka.as_user("pprm", sasl_mechanism=mechanism), "PPRM_DELIVERY": delivery}
    write = ("--allow-principal", "User:pprm", "--operation", "Write", "--topic", shop.topic(taken))

    async def story() -> None:
        worker = start(shop, "worker", variables).wait_until_ready()
        (sent,) = await shop.publish("purchases", [purchase(shopper, "p1", 1)])
        await shop.publish("purchases", [(shopper, b"no event")])
        assert (await shop.wait_for_answer(sent, shopper))["items"]
        await shop.wait_for(
            "dead_letters", lambda records: any(r.key == shopper.encode() for r in records)
        )
        assert shopper not in worker.get("/metrics")[1]
        kafka.acls("--remove", "--force", *write)
        try:
            await shop.publish("purchases", [purchase(shopper, "p1", 2)])
            assert worker.process.wait(60) == EXIT_CODE
            again = shop.start_worker("again")  # as a supervisor does
            assert again.process.wait(60) == EXIT_CODE
        finally:
            kafka.acls("--add", *write)
        # in a transaction the broker's first word may be that the transaction has ended, not why
        assert (
            delivery == "exactly_once"
            or f"TopicAuthorizationFailedError: {shop.topic(taken)}" in worker.tail()
        )
        assert f"Write on topic {shop.topic(taken)}" in again.tail()
        assert_no_secret(worker)
        assert shopper.encode() not in worker.log.read_bytes()

    asyncio.run(story())


def test_who_is_refused_ends_with_a_clear_error_and_tells_no_secret(
    shop: Shop, kafka: Secured
) -> None:
    by_name = kafka.tls.replace("127.0.0.1", "localhost")
    refused = {
        "password": (
            kafka.as_user("pprm", sasl_password=WRONG) | {"PPRM_LOG__FORMAT": "console"},
            "Check kafka.sasl_username",
        ),
        "scram": (
            kafka.as_user("pprm", sasl_mechanism="SCRAM-SHA-512", sasl_password=WRONG),
            "kafka.sasl_password",
        ),
        "mechanism": (
            kafka.as_user("pprm", sasl_mechanism="SCRAM-SHA-256"),
            "does not offer SCRAM-SHA-256",
        ),
        "authority": (kafka.as_user("pprm", ssl_cafile=""), "Check kafka.ssl_cafile"),
        "name": (kafka.as_user("pprm", bootstrap_servers=by_name), "not valid for 'localhost'"),
        "tls-on-plain": (
            kafka.as_user("pprm", bootstrap_servers=kafka.plain),
            "speaks no TLS on this port",
        ),
        "plain-on-tls": ({"PPRM_KAFKA__BOOTSTRAP_SERVERS": kafka.tls}, "speaks TLS on this port"),
    }
    for name, (variables, _) in refused.items():
        start(
            Shop(shop.broker, APP, shop.directory, dict(shop.extra), shop.workers), name, variables
        )
    for worker, (name, (_, message)) in zip(shop.workers, refused.items(), strict=True):
        assert worker.process.wait(60) == EXIT_CODE, f"{name}: {worker.tail()}"
        assert message in worker.tail(), f"{name}: {worker.tail()}"
        assert_no_secret(worker)


@pytest.mark.parametrize(
    ("protocol", "message"), [("SSL", "speaks no TLS on this port"), ("PLAINTEXT", None)]
)
def test_the_embedded_broker_is_told_apart_too(protocol: str, message: str | None) -> None:
    with embedded.broker() as address:
        settings = shop_settings(bootstrap_servers=address, security_protocol=protocol)
        said = asyncio.run(refusal.why(client_settings(settings.kafka)))
    assert said is None if message is None else said and message in said


def test_a_broker_that_is_down_is_waited_for(shop: Shop, kafka: Secured) -> None:
    worker = start(shop, "worker", kafka.as_user("pprm", bootstrap_servers="127.0.0.1:1"))
    deadline = time.monotonic() + 30
    while "waiting for the broker: is it where kafka.bootstrap_servers says?" not in worker.tail():
        assert worker.process.poll() is None and time.monotonic() < deadline, worker.tail()
        time.sleep(0.2)
    time.sleep(5)
    assert worker.alive and worker.tail().count("waiting for the broker") == 1


@pytest.mark.parametrize(
    "user", [user for user, right in LACKING.items() if right.kind != "transactional-id"]
)
def test_each_right_is_needed_and_its_absence_is_found_before_the_start(
    kafka: Secured, user: str
) -> None:
    right = LACKING[user]
    settings = user_settings(kafka, user)
    with pytest.raises(
        topics.TopicsError, match=f"{right.operations[0]} on {right.kind} {right.names[0]}"
    ) as caught:
        asyncio.run(topics.require_allowed(client_settings(settings.kafka), settings))
    assert PASSWORD not in str(caught.value)


def test_a_worker_that_may_not_write_its_changelog_does_not_start(
    shop: Shop, kafka: Secured
) -> None:
    changelog = Acl("topic", (shop.settings.changelog,), ("Write",))
    user = next(user for user, right in LACKING.items() if right == changelog)
    worker = start(shop, "worker", kafka.as_user(user))
    assert worker.process.wait(60) == EXIT_CODE
    assert f"Write on topic {shop.settings.changelog}" in worker.tail()
    assert_no_secret(worker)


def test_transactions_need_their_right(kafka: Secured) -> None:
    async def transaction(user: str) -> None:
        settings = user_settings(kafka, user)
        producer = AIOKafkaProducer(
            transactional_id=f"{APP}-purchases-0", **client_settings(settings.kafka)
        )
        try:
            await producer.start()  # asks for the transactional id, and may be refused
            async with producer.transaction():
                await producer.send_and_wait(
                    f"{TOPICS_PREFIX}recommendations", b"{}", key=b"nobody", partition=0
                )
        finally:
            await producer.stop()

    asyncio.run(transaction("pprm"))
    for user, right in LACKING.items():
        if right.kind == "transactional-id" and right.operations == ("Write",):
            with pytest.raises(TransactionalIdAuthorizationFailed):
                asyncio.run(transaction(user))
