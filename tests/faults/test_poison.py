"""Input that is meant to hurt: T11 of docs/reliability.md."""

import asyncio
import hashlib
import json
from collections import Counter
from datetime import datetime
from statistics import median
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pprm.state import user_state
from tests.faults.harness import open_shop, until_ready
from tests.integration.shop import Shop, purchase

BIG = 50 * 1024 * 1024


def matrix() -> list[tuple[str, bytes | None, bytes | None]]:
    """What it is, key, value."""

    def said(**changes: Any) -> bytes:
        return json.dumps(purchase("cid", "p1", 1, **changes)[1]).encode()

    good = said()
    return [
        ("bad JSON", b"cid", b"{not json"),
        ("empty", b"cid", b""),
        ("null value", b"cid", None),
        ("null key", None, good),
        ("empty key", b"", good),
        ("key that is not UTF-8", b"\xff\xfe", good),
        ("another key", b"dan", good),
        ("a key too long", b"k" * 500, good),
        ("invalid UTF-8", b"cid", b'{"event_id": "\xff\xfe"}'),
        ("UTF-16", b"cid", good.decode().encode("utf-16")),
        ("wrong types", b"cid", said(product_id=7)),
        ("a list", b"cid", b"[]"),
        ("a number", b"cid", b"42"),
        ("missing fields", b"cid", b'{"user_id": "cid"}'),
        ("deep nesting", b"cid", b"[" * 30_000),
        (
            "deep nesting in a field",
            b"cid",
            b'{"event_id": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        ),
        ("NaN", b"cid", good.replace(b'"e1"', b"NaN")),
        ("NaN as price", b"cid", good[:-1] + b', "price": NaN}'),
        ("infinite price", b"cid", good[:-1] + b', "price": 1e999}'),
        ("beyond 64 bit", b"cid", good[:-1] + b', "quantity": 18446744073709551616}'),
        ("a quantity beyond reason", b"cid", said(quantity=-2e6)),
        ("far future", b"cid", said(at="2090-01-01T00:00:00Z")),
        ("before 1970", b"cid", said(at="1901-01-01T00:00:00Z")),
        ("no time zone", b"cid", said(at="2017-11-05T10:00:00")),
        ("year 10000", b"cid", said(at="10000-01-01T00:00:00Z")),
        ("a huge string", b"cid", said(product_id="x" * 60_000)),
        ("oversize", b"cid", b'"' + b"x" * 70_000 + b'"'),
        ("oversize, 900 kB", b"cid", b"x" * 900_000),
    ]


TREATED = [
    # What is odd and yet has a meaning: the contract says it is processed.
    ("duplicate keys",
    b'{"event_id": "e0", "event_id": "e1", "user_id": "cid", "product_id": "p1", "occurred_at":'
                       b' "2017-11-05T10:00:00Z", "basket_id": "dup"}'),
    ("unknown product", json.dumps(purchase("cid", "never-heard-of", 7)[1]).encode()),
    ("long ago", json.dumps(purchase("cid", "p3", 8, at="2001-01-01T00:00:00Z")[1]).encode()),
    ("unknown field", json.dumps(purchase("cid", "p6", 10, surprise=1)[1]).encode()),
    ("spaces", b"  " + json.dumps(purchase("cid", "p4", 9)[1]).encode() + b"\n"),
]  # fmt: skip


def test_t11_poison_goes_to_the_dead_letters_once_and_its_neighbours_are_answered(
    shop: Shop, exactly_once: bool
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        poison = matrix()
        async with shop.producer() as producer:

            async def send(key: bytes | None, value: bytes | None) -> Any:
                return await producer.send_and_wait(
                    shop.topic("purchases"), key=key, value=value, partition=0
                )

            for number in range(len(poison)):
                await send(*_encoded(purchase(f"m{number}", "p2", 500 + number)))
            sent = []
            for number, (_, key, value) in enumerate(poison):
                sent.append(await send(key, value))
                await send(*_encoded(purchase(f"n{number}", "p2", 100 + number)))
            for _, value in TREATED:
                await send(b"cid", value)
            last = await send(*_encoded(purchase("ann", "p5", 2)))
        await shop.wait_for_answer(last, "ann", 60)
        letters = await shop.wait_for("dead_letters", lambda found: len(found) >= len(poison))
        _every_letter_once(poison, sent, letters)
        lists = await shop.lists()
        assert all(lists.get(f"n{number}") for number in range(len(poison)))
        state = user_state.decode({r.key: r.value for r in await shop.read("changelog")}[b"cid"])
        assert state.purchases == len(TREATED) and lists["cid"]
        _not_held_up(await shop.read("purchases"), await shop.read("recommendations"))
        assert worker.alive and worker.metric("pprm_dead_letters_sent_total") == len(poison)
        await _repeated_by_nobody(shop, len(poison))

    asyncio.run(story())


def _every_letter_once(poison: list[Any], sent: list[Any], letters: list[Any]) -> None:
    by_offset = {int(dict(letter.headers)["source_offset"]): letter for letter in letters}
    assert len(letters) == len(by_offset) == len(poison)
    for (what, key, value), where in zip(poison, sent, strict=True):
        letter = by_offset[where.offset]
        assert (letter.key or None, letter.value or None) == (key or None, value or None), what
        assert dict(letter.headers)["reason"], what


def _not_held_up(inputs: list[Any], lists: list[Any]) -> None:
    """Lists of shoppers between the poison (n...) take no longer than before it (m...)."""
    sent_ms = {(r.partition, r.offset): r.timestamp for r in inputs}
    waited: dict[bytes, list[float]] = {b"m": [], b"n": []}
    for record in lists:
        if record.key[:1] in waited:
            made = json.loads(record.value)
            trigger, at = made["trigger"], datetime.fromisoformat(made["generated_at"]).timestamp()
            waited[record.key[:1]].append(
                at - sent_ms[trigger["partition"], trigger["offset"]] / 1000
            )
    assert median(waited[b"n"]) < 5 * median(waited[b"m"]) + 0.5, waited


async def _repeated_by_nobody(shop: Shop, letters: int) -> None:
    """A worker that starts again repeats no dead letter: all is committed."""
    assert await asyncio.to_thread(shop.workers[0].terminate) == 0
    await until_ready(shop.start_worker())
    (sent,) = await shop.publish("purchases", [purchase("ann", "p6", 3)])
    await shop.wait_for_answer(sent, "ann")
    found = await shop.read("dead_letters")
    assert Counter(dict(r.headers)["source_offset"] for r in found).most_common(1)[0][1] == 1
    assert len(found) == letters


def _encoded(record: tuple[str, Any]) -> tuple[bytes, bytes]:
    return record[0].encode(), orjson.dumps(record[1])


def test_t11_a_record_of_50_mb_is_kept_as_far_as_the_topic_takes_it(shop: Shop) -> None:
    """Only where a shop has raised its topic's limit so far.

    The letter holds the first MiB, length and SHA-256.
    """
    if not shop.is_apache:
        pytest.skip("the embedded broker takes no request of this size")
    from aiokafka import AIOKafkaProducer

    async def story() -> None:
        await open_shop(shop)
        await shop.configure(shop.topic("purchases"), max_message_bytes=str(2 * BIG))
        worker = await until_ready(shop.start_worker())
        value = b'{"event_id": "' + b"x" * BIG + b'"}'
        async with AIOKafkaProducer(
            bootstrap_servers=shop.broker, max_request_size=2 * BIG
        ) as producer:
            where = await producer.send_and_wait(
                shop.topic("purchases"), key=b"cid", value=value, partition=0
            )
            key, neighbour = _encoded(purchase("ann", "p1", 1))
            sent = await producer.send_and_wait(
                shop.topic("purchases"), key=key, value=neighbour, partition=0
            )
        await shop.wait_for_answer(sent, "ann", 60)
        (letter,) = await shop.wait_for("dead_letters", lambda found: len(found) > 0)
        headers = dict(letter.headers)
        assert letter.value == value[: 1 << 20] and int(headers["source_offset"]) == where.offset
        assert headers["cut_from_bytes"] == str(len(value)).encode()
        assert headers["sha256"] == hashlib.sha256(value).hexdigest().encode()
        assert worker.alive

    asyncio.run(story())


TRACE = [("traceparent", b"0" * 1_048_368)]
OVERSIZE: dict[str, tuple[bytes, bytes, list[tuple[str, bytes]], bool]] = {
    "a trace": (b"cid", _encoded(purchase("cid", "p1", 1))[1], TRACE, False),
    "headers": (b"cid", b"{not json", [("", b"")] * 300_000, True),
    "a key": (b"k" * 3_000_000, _encoded(purchase("cid", "p1", 1))[1], [], True),
}
"""What came of a record did not fit into its topic: its key, value and headers, and whether it
becomes a letter."""


@pytest.mark.parametrize("what", OVERSIZE)
def test_t11_what_is_written_fits_whatever_was_read(shop: Shop, what: str) -> None:
    key, value, headers, refused = OVERSIZE[what]
    if what == "a key" and not shop.is_apache:
        pytest.skip("the embedded broker tells and takes no other limit")

    async def story() -> None:
        await open_shop(shop)
        if what == "a key":
            await _configure(shop, "purchases", "max.message.bytes", str(4 << 20))
            await _configure(shop, "dead_letters", "max.message.bytes", str(64 << 10))
        worker = await until_ready(shop.start_worker())
        async with AIOKafkaProducer(
            bootstrap_servers=shop.broker, max_request_size=4 << 20
        ) as producer:
            topic = shop.topic("purchases")
            odd = await producer.send_and_wait(
                topic, key=key, value=value, partition=0, headers=headers
            )
            neighbour = _encoded(purchase("ann", "p1", 1))
            sent = await producer.send_and_wait(
                topic, key=neighbour[0], value=neighbour[1], partition=0
            )
        await shop.wait_for_answer(sent, "ann", 60)
        if refused:
            (letter,) = await shop.wait_for("dead_letters", bool)
            fields = dict(letter.headers)
            assert fields["source_offset"] == str(odd.offset).encode() and key.startswith(
                letter.key
            )
            assert letter.value == value and ("original_headers_cut" in fields) == bool(headers)
            assert ("key_sha256" in fields) == (what == "a key")
        else:
            await shop.wait_for_answer(odd, "cid")
            assert not await shop.read("dead_letters")
        assert worker.alive

    asyncio.run(story())


async def _configure(shop: Shop, family: str, name: str, value: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.broker)
    await admin.start()
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, shop.topic(family), {name: value})]
    )
    await admin.close()


def test_t11_a_topic_that_takes_less_than_what_must_be_written_is_refused_at_the_start(
    shop: Shop,
) -> None:
    if not shop.is_apache:
        pytest.skip("the embedded broker tells no limit")

    async def story() -> None:
        await open_shop(shop)
        await _configure(shop, "changelog", "max.message.bytes", "20000")
        worker = shop.start_worker()
        assert await asyncio.to_thread(worker.process.wait, 60) == 70
        text = worker.tail()
        assert "takes messages of 20000 bytes" in text and "raise its max.message.bytes" in text

    asyncio.run(story())


def test_t11_a_damaged_state_becomes_a_dead_letter_and_the_shopper_starts_anew(
    shop: Shop, exactly_once: bool
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        (sent,) = await shop.publish("purchases", [purchase("ann", "p1", 1)])
        await shop.wait_for_answer(sent, "ann")
        assert await asyncio.to_thread(worker.terminate) == 0
        damaged = b"\x01 no state at all"
        async with shop.producer() as producer:  # as a disk or a hand would
            await producer.send_and_wait(
                shop.topic("changelog"), key=b"ann", value=damaged, partition=sent.partition
            )
        worker = await until_ready(shop.start_worker())
        (sent,) = await shop.publish("purchases", [purchase("ann", "p2", 2)])
        await shop.wait_for_answer(sent, "ann")
        (letter,) = await shop.wait_for("dead_letters", lambda found: len(found) > 0)
        assert (letter.key, letter.value) == (b"ann", damaged)
        assert dict(letter.headers)["reason"] == b"state"
        assert worker.alive

    asyncio.run(story())
