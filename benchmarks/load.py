"""Open-loop load.

Events are sent at their planned times whatever comes back, and every answer is timed by its
arrival.

Latency is counted from the planned time, so a system that stalls cannot hide the events that it
kept waiting. Sender, echo and receiver are functions for processes of their own; their clock is the
machine's (`time.monotonic`).
"""

import asyncio
import gc
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from numpy.typing import NDArray

from worker.runtime.delivery import Row, append_rows

FETCH_WAIT_MS = 10
"""How long a broker may wait for more: the embedded one always does, which adds latency."""
AT_ONCE = 1000
"""Events sent together at most."""
TICK = 0.001
"""Seconds between two looks for what is due, which add to an event's latency at most.

Without a pause, sender and broker took a core at 10,000 events/s, for batches of one event.
"""
DRAIN_SECONDS = 30.0
"""How long answers are waited for when all is sent."""
OCCURRED_AT = "2017-12-01T00:00:00Z"

Positions = dict[int, int]
"""Where to go on reading, per partition.

It is kept from run to run: not every broker knows the right end of a topic.
"""


class Plan(NamedTuple):
    """Purchases to send at random (Poisson) times."""

    rate: float
    """Events per second."""
    begin: float
    """Monotonic seconds of the first."""
    seconds: float
    users: int
    """Their ids are the numbers below."""
    products: list[str]
    """Ids to draw from."""
    seed: int

    @property
    def last(self) -> bytes:
        """Key of the event that follows the last in every partition.

        What comes with it says that this was all.
        """
        return f"-{self.seed}".encode()

    @property
    def give_up(self) -> float:
        """Monotonic seconds after which nobody waits for that any more."""
        return self.begin + self.seconds + DRAIN_SECONDS


class Sent(NamedTuple):
    """Events sent, one row each; times are monotonic seconds."""

    user: NDArray[np.int64]
    offset: NDArray[np.int64]
    planned: NDArray[np.float64]
    handed_over: NDArray[np.float64]
    """When the client was given the event: later than planned where the sender itself is late."""


class Received(NamedTuple):
    """Answers received, in the order of their arrival."""

    user: NDArray[np.int64]
    offset: NDArray[np.int64]
    """Of the event that triggered it; a user's events lie in one partition."""
    arrived: NDArray[np.float64]


def send(address: str, topic: str, partitions: int, plan: Plan) -> Sent:
    """Send a plan's events to a topic; returns when the broker holds them all."""
    return uvloop.run(_send(address, topic, partitions, plan))


async def _send(address: str, topic: str, partitions: int, plan: Plan) -> Sent:
    rng = np.random.default_rng(plan.seed)
    count = int(plan.rate * plan.seconds)
    planned = plan.begin + np.sort(rng.random(count)) * plan.seconds
    users, products = (
        rng.integers(plan.users, size=count),
        rng.integers(len(plan.products), size=count),
    )
    names = [str(user) for user in users.tolist()]
    values = [
        _purchase(plan, n, *of) for n, of in enumerate(zip(names, products.tolist(), strict=True))
    ]
    keys = [name.encode() for name in names]
    choose, numbers = DefaultPartitioner(), list(range(partitions))
    partition_of = {key: choose(key, numbers, numbers) for key in set(keys)}
    where, times = [partition_of[key] for key in keys], planned.tolist()
    offsets, handed_over, acknowledged = np.zeros(count, np.int64), np.zeros(count), []
    gc.disable()  # a pause of the sender would count as the worker's
    async with AIOKafkaProducer(
        bootstrap_servers=address, acks=1, linger_ms=0, max_batch_size=1 << 19
    ) as producer:
        at = 0
        while at < count:
            await asyncio.sleep(max(times[at] - monotonic(), TICK))
            until = bisect_right(times, monotonic(), at, min(at + AT_ONCE, count))
            due = defaultdict[int, list[int]](list)
            for n in range(at, until):
                due[where[n]].append(n)
            handed_over[at:until], at = monotonic(), until
            for number, mine in due.items():
                batch = producer.create_batch()
                for n in mine:
                    batch.append(key=keys[n], value=values[n], timestamp=None)
                acknowledged.append(
                    (mine, await producer.send_batch(batch, topic, partition=number))
                )
        for number in numbers:
            await producer.send(
                topic, _purchase(plan, count, plan.last.decode(), 0), plan.last, partition=number
            )
        for mine, future in acknowledged:
            offsets[mine] = (await future).offset + np.arange(len(mine))
    gc.enable()
    return Sent(users, offsets, planned, handed_over)


def _purchase(plan: Plan, number: int, user: str, product: int) -> bytes:
    event = f"{plan.seed}-{number}"
    return orjson.dumps(
        {
            "event_id": event, "user_id": user, "product_id": plan.products[product],
            "occurred_at": OCCURRED_AT, "basket_id": event, "price": 1.99,
        }
    )  # fmt: skip


def receive(
    address: str, topic: str, partitions: int, positions: Positions, plan: Plan
) -> tuple[Received, Positions]:
    """Time the arrival of every list, or of what the echo writes, until a plan's have come.

    Args:
        address: of the broker.
        topic: of the lists.
        partitions: of the topic.
        positions: where the last run ended; from the beginning where there was none.
        plan: what is sent.
    """
    batches: list[tuple[float, list[Any]]] = []

    async def keep(records: list[Any], arrived: float) -> None:
        batches.append((arrived, records))

    gc.disable()
    reached = uvloop.run(_follow(address, topic, partitions, positions, plan, keep))
    gc.enable()
    rows = [
        (int(r.key), orjson.loads(r.value)["trigger"]["offset"])
        for _, records in batches
        for r in records
    ]
    found = np.array(rows, np.int64).reshape(-1, 2)
    arrived = np.repeat([at for at, _ in batches], [len(records) for _, records in batches])
    return Received(found[:, 0], found[:, 1], arrived), reached


def echo(
    address: str, source: str, target: str, partitions: int, positions: Positions, plan: Plan
) -> Positions:
    """Answer every event with its own bytes, a fetch at a time, and await acknowledgements.

    This is a worker without work.
    """

    async def run() -> Positions:
        producer = AIOKafkaProducer(
            bootstrap_servers=address, acks="all", linger_ms=0, max_batch_size=1 << 19
        )
        async with producer:

            async def answer(records: list[Any], _: float) -> None:
                rows: dict[tuple[str, int], list[Row]] = {}
                for record in records:
                    value = orjson.dumps(
                        {"trigger": {"offset": record.offset}, "event": record.value.decode()}
                    )
                    rows.setdefault((target, record.partition), []).append(Row(record.key, value))
                await append_rows(producer, rows)

            return await _follow(address, source, partitions, positions, plan, answer)

    return uvloop.run(run())


async def _follow(
    address: str, topic: str, partitions: int, positions: Positions, plan: Plan,
    take: Callable[[list[Any], float], Awaitable[None]],
) -> Positions:  # fmt: skip
    """Hand over what comes, a fetch at a time, until all of a plan have come.

    Returns where to go on.
    """
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    async with AIOKafkaConsumer(
        bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
    ) as consumer:  # fmt: skip
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, positions.get(tp.partition, 0))
        open_ended = set(range(partitions))
        while open_ended and monotonic() < plan.give_up:
            if fetched := await consumer.getmany(timeout_ms=100):
                arrived = monotonic()
                records = [record for some in fetched.values() for record in some]
                await take(records, arrived)
                open_ended -= {record.partition for record in records if record.key == plan.last}
        return {tp.partition: await consumer.position(tp) for tp in tps}


def latencies(sent: Sent, received: Received) -> NDArray[np.float64]:
    """Return the seconds per event from its planned time to the first list that knows it.

    They are infinite where none came. A list answers all events of its user up to the one that
    triggered it: a micro-batch makes one list per user.
    """
    asked, answered = _place(sent.user, sent.offset), _place(received.user, received.offset)
    order = np.argsort(answered, kind="stable")
    at = np.searchsorted(answered[order], asked)
    found = at < len(order)
    first = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(asked), np.int64)
    found[found] = received.user[first[found]] == sent.user[found]
    latency = np.full(len(asked), np.inf)
    latency[found] = received.arrived[first[found]] - sent.planned[found]
    return latency


def _place(user: NDArray[np.int64], offset: NDArray[np.int64]) -> NDArray[np.int64]:
    """A user's events in their order, user by user."""
    return (user << 40) + offset
