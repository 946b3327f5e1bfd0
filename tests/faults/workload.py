"""The load of the fault suite: purchases and browses of a few shoppers, each event with a time of its own.

Every purchase has a basket of its own, so that a state counts each exactly once, and `occurred_at` grows by a second
with every event, so that an event can be found in a state by its time.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
from aiokafka import AIOKafkaProducer

START = datetime(2017, 11, 5, tzinfo=UTC)
AT_ONCE = 500


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
    held: Callable[[int], None] = lambda count: None,
) -> None:
    """Publish events numbered from `first`, as fast as it goes where `per_second` is 0; returns when all are held.

    `held` is told how many more the broker holds. `idempotent`: the broker drops what a retry sends twice, so that the
    input itself has no repeats.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, acks="all", linger_ms=5, request_timeout_ms=120_000, enable_idempotence=idempotent
    )
    await producer.start()
    rng, started = random.Random(seed), time.monotonic()
    try:
        waiting = []
        for number in range(first, first + events):
            family, key, value = event(rng, users, products, number)
            waiting.append(await producer.send(prefix + family, key=key, value=value))
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


def event(rng: random.Random, users: int, products: int, number: int) -> tuple[str, bytes, bytes]:
    """Topic family, key and value of the event of this number."""
    user = f"u{rng.randrange(users)}"
    value = {
        "event_id": f"e{number}",
        "user_id": user,
        "product_id": f"p{rng.randrange(products)}",
        "occurred_at": (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
    }
    if rng.random() < 0.7:
        return "purchases", user.encode(), orjson.dumps(value | {"basket_id": f"b{number}"})
    return "browses", user.encode(), orjson.dumps(value | {"action": "view"})
