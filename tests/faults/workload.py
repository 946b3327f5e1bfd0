"""The load of the fault suite.

Purchases, returns and browses of a few shoppers, each event with a time of its own.

Every purchase has a basket of its own, so that a state counts each exactly once, and `occurred_at`
grows by a second with every event, so that an event can be found in a state by its time. One in 50
is published again, as a shop does that retries: with its `event_id`, to count once. One in 50 is
the return of something bought lately, one in 50 asks for a list.
"""

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zlib import crc32

import orjson
from aiokafka import AIOKafkaProducer

START = datetime(2017, 11, 5, tzinfo=UTC)
AT_ONCE = 500
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
"""Each shop's load has one of them."""


async def feed(
    broker: str,
    prefix: str,
    *,
    users: int,
    products: int,
    events: int,
    per_second: int,
    seed: int,
    first: int = 0,
    idempotent: bool = False,
    mixed: int = 0,
    withdraw: Sequence[int] = (),
    held: Callable[[int], None] = lambda count: None,
) -> None:
    """Publish events numbered from `first`, as fast as it goes where `per_second` is 0.

    Returns when all are held.

    `held` is told how many more the broker holds. `idempotent`: the broker drops what a retry sends
    twice, so that the input itself has no repeats. `mixed`: of topics with so many partitions, half
    of the shoppers' purchases and half of their browses come from a client of librdkafka's, by its
    own partitioner. `withdraw`: products that go while the events come, for good.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, acks="all", linger_ms=5, request_timeout_ms=120_000,
        enable_idempotence=idempotent,
        compression_type=random.Random(f"{prefix}{seed}").choice(CODECS),
    )  # fmt: skip
    await producer.start()
    rng, started = random.Random(seed), time.monotonic()
    try:
        waiting = []
        goes = {
            first + (place + 1) * events // (len(withdraw) + 1): product
            for place, product in enumerate(withdraw)
        }
        for number, (family, key, value) in enumerate(
            messages(rng, users, products, first, events), first
        ):
            if (product := goes.get(number)) is not None:
                sent = producer.send(prefix + "products", key=b"p%d" % product, value=None)
                waiting.append(await sent)
            partition = _partition(family, key, mixed)
            waiting.append(
                await producer.send(prefix + family, key=key, value=value, partition=partition)
            )
            if len(waiting) >= AT_ONCE:
                await asyncio.gather(*waiting)
                held(len(waiting))
                waiting.clear()
            due = started + (number - first) / per_second if per_second else 0
            if due > (now := time.monotonic()):
                await asyncio.sleep(due - now)
        await asyncio.gather(*waiting)
        held(len(waiting))
    finally:
        await producer.stop()


def _partition(family: str, key: bytes, mixed: int) -> int | None:
    """Where librdkafka puts a key, None where the producer's own partitioner is to choose.

    One client writes all of a shopper's events of a topic: between partitions nobody knows an
    order.
    """
    return crc32(key) % mixed if mixed and crc32(family.encode() + key) % 2 else None


Message = tuple[str, bytes, bytes]
"""Topic family, key and value."""
LATELY = 5
"""Of so many of a shopper's last messages and purchases one comes again, or goes back."""


def messages(
    rng: random.Random, users: int, products: int, first: int, count: int
) -> Iterator[Message]:
    """So many messages, with the numbers from `first` on."""
    said = defaultdict[str, deque[Message]](lambda: deque(maxlen=LATELY))
    bought = defaultdict[str, deque[dict[str, object]]](lambda: deque(maxlen=LATELY))
    for number in range(first, first + count):
        user, chance = f"u{rng.randrange(users)}", rng.random()
        if chance < 0.02 and said[user]:
            yield rng.choice(said[user])
            continue
        at = (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        if 0.02 <= chance < 0.04:
            asked = {"request_id": f"r{number}", "user_id": user, "occurred_at": at}
            yield "requests", user.encode(), orjson.dumps(asked)
            continue
        value = {
            "event_id": f"e{number}", "user_id": user, "product_id": f"p{rng.randrange(products)}",
            "occurred_at": at,
        }  # fmt: skip
        family = "purchases" if rng.random() < 0.7 else "browses"
        if chance > 0.98 and bought[user]:
            family, value = "purchases", _returned(rng, value, rng.choice(bought[user]))
        elif family == "purchases":
            value |= {"basket_id": f"b{number}"}
            bought[user].append(value)
        else:
            value |= {"action": "view"}
        message = family, user.encode(), orjson.dumps(value)
        said[user].append(message)
        yield message


def _returned(
    rng: random.Random, value: dict[str, str], purchase: dict[str, object]
) -> dict[str, object]:
    """A return in one of the ways in which shops tell it."""
    back = value | {"product_id": purchase["product_id"]}
    if rng.random() < 0.5:
        return back | {"kind": "return", "basket_id": purchase["basket_id"]}
    return back | {"quantity": -1}
