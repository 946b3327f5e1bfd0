"""Made-up shoppers and their events, as a shop would publish them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from worker.pipeline import codec

START = datetime(2016, 11, 1, tzinfo=UTC)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
POOL = 20
"""Different products a shopper buys, unless a benchmark says otherwise."""
OF_A_BASKET = 5
PRODUCTS = tuple(f"p{i}" for i in range(30_000))


class Record(NamedTuple):
    """A Kafka record, as far as the worker reads it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[()] = ()


@cache
def moment(number: int) -> str:
    """When a shopper's purchase of this number is made: an hour between two baskets."""
    return (START + timedelta(hours=number // OF_A_BASKET)).strftime(TIME_FORMAT)


def purchase(user: int, number: int, product: str, occurred_at: str) -> bytes:
    """JSON of a shopper's purchase.

    `number` counts the shopper's purchases, `OF_A_BASKET` of which make a basket.
    """
    return (
        f'{{"event_id":"e{user}-{number}","user_id":"u{user}","product_id":"{product}","occurred_at":"{occurred_at}",'
        f'"basket_id":"b{user}-{number // OF_A_BASKET}","store_id":"s{user % 50}"}}'
    ).encode()


def bought(user: int, number: int, products: Sequence[str] = PRODUCTS, pool: int = POOL) -> str:
    """Product of a shopper's purchase.

    Any of the shopper's own `pool`, which repeats as real shoppers do.
    """
    return products[(user * 7919 + hash((user, number)) % pool * 104_729) % len(products)]


def record(
    user: int, number: int, offset: int, partitions: int, products: Sequence[str], pool: int
) -> Record:
    """A shopper's purchase in the topic."""
    value = purchase(user, number, bought(user, number, products, pool), moment(number))
    return Record("purchases", user % partitions, offset, 0, b"u%d" % user, value)


def state_after(
    user: int, purchases: int, products: Sequence[str] = PRODUCTS, pool: int = POOL
) -> UserState:
    """Make a shopper's state after so many purchases and a list of 10, by the worker's code."""
    events = []
    for number in range(purchases):
        decoded = codec.decode("purchases", record(user, number, number, 1, products, pool), 4e9)
        assert isinstance(decoded, codec.Decoded), decoded
        events.append(decoded.event)
    state = fold(UserState(), events).state
    return user_state.publish(
        state, np.random.default_rng(user).integers(1 << 63, size=10).tolist(), state.active_at
    )


def batches(users: int, size: int, seed: int) -> Iterator[list[int]]:
    """Shoppers of one micro-batch after the other, each at most once in a batch, for ever."""
    rng, edges = np.random.default_rng(seed), range(0, users + 1, size)
    while True:
        order = rng.permutation(users).tolist()
        for start, stop in pairwise(edges):
            yield order[start:stop]
