"""The job that all contenders do, with the product's own functions.

What differs between them is the machinery alone.

Of whatever a contender takes at a time, an event or a batch: decode and validate the JSON
(`worker.pipeline.codec.decode_all`). Per shopper of it: read the state, fold
(`pprm.state.fold.fold`), note the list, write the state to the changelog and one record to the
output. Instead of PPRM a stub recommends the same ten products to everybody.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pprm.core.ids import stable_hash
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.watermarks import RECORD
from worker.pipeline import codec
from worker.pipeline.codec import Answer, Decoded, Trigger

PARTITIONS = 2
SHOPPERS = 20_000
BASKET = 8
"""Mean products per basket; the bundled data of real households has 9.4."""
TILLS = 50
"""Baskets at a time whose events come in turns."""
PRODUCTS = 10_000
COMMIT_SECONDS = 1.0
FETCH_WAIT_MS = 20
SESSION_SECONDS = 6
"""The embedded broker lets a new member wait for half of it."""
MODEL = {"name": "stub", "version": "1", "sha256": "0" * 64}
ITEMS = [(f"p{number}", 0.5, ["popular"]) for number in range(10)]
HASHES = [stable_hash(item) for item, _, _ in ITEMS]


@dataclass(frozen=True)
class Job:
    """What a contender is given: names on the broker, and a directory for its files."""

    broker: str
    group: str
    source: str
    output: str
    changelog: str
    directory: str

    def text(self) -> str:
        """The job as the argument of a process."""
        return json.dumps(asdict(self))


class Record(NamedTuple):
    """A record as `worker.pipeline.codec` wants it, of clients whose own looks different."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    timestamp: int
    headers: Sequence[tuple[str, bytes]] = ()


class Row(NamedTuple):
    """What to produce."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


Received = Sequence[tuple[Any, Decoded]]


def read(record: Any, now: float) -> Decoded:
    decoded = codec.decode("purchases", record, now)
    assert isinstance(decoded, Decoded), decoded
    return decoded


def by_shopper(records: Sequence[Any], now: float) -> dict[bytes, list[tuple[Any, Decoded]]]:
    """Decoded records of each key, in order."""
    received: dict[bytes, list[tuple[Any, Decoded]]] = {}
    for record, decoded in zip(records, codec.decode_all("purchases", records, now), strict=True):
        assert isinstance(decoded, Decoded), decoded
        received.setdefault(record.key, []).append((record, decoded))
    return received


def update(held: bytes | None, received: Received, now: datetime) -> tuple[bytes, Row]:
    """A shopper's state after the events received, and the list that answers the last of them."""
    record, last = received[-1]
    state = fold(user_state.decode(held), [decoded.event for _, decoded in received]).state
    state = user_state.publish(state, HASHES, state.active_at)
    trigger = Trigger("event", record.topic, record.partition, record.offset, last.event_id)
    answer = Answer(last.user_id, state.version, trigger, MODEL, ITEMS, record.headers)
    return user_state.encode(state), Row(*codec.encode_recommendation(answer, now))


def utc() -> datetime:
    return datetime.now(UTC)


def events(count: int, seed: int = 1) -> Iterator[tuple[int, str, bytes]]:
    """Purchases as partition, user id and JSON: baskets of different tills, mixed."""
    rng, number, baskets = random.Random(seed), 0, 0
    tills: list[list[tuple[int, str, dict[str, Any]]]] = []
    while number < count:
        while len(tills) < TILLS:
            inside = {till[0][1] for till in tills}  # a shopper is at one till at a time
            basket = _basket(rng, baskets)
            if basket[0][1] not in inside:
                tills.append(basket)
                baskets += 1
        chosen = rng.randrange(TILLS)
        partition, user, value = tills[chosen].pop()
        yield partition, user, json.dumps({"event_id": f"e{number:09d}", **value}).encode()
        number += 1
        if not tills[chosen]:
            tills[chosen] = tills[-1]
            tills.pop()


def _basket(rng: random.Random, number: int) -> list[tuple[int, str, dict[str, Any]]]:
    shopper = rng.randrange(SHOPPERS)
    common = {
        "user_id": f"u{shopper}",
        "basket_id": f"b{number}",
        "store_id": f"s{shopper % 300}",
        "occurred_at": f"2017-{1 + number // 5000 % 12:02d}-{1 + number // 200 % 25:02d}T10:00:00Z",
    }
    products = rng.sample(range(PRODUCTS), rng.randint(1, 2 * BASKET - 1))
    return [
        (
            shopper % PARTITIONS,
            f"u{shopper}",
            {**common, "product_id": f"p{product}", "quantity": 1.0, "price": 2.5},
        )
        for product in products
    ]


class Expected(NamedTuple):
    """What the input says of a shopper."""

    bought: list[str]
    """Product ids, in order."""
    baskets: set[str]
    newest: int
    """Offset of the last event."""


class Verdict(NamedTuple):
    """What is wrong with a contender's output, in shoppers; all but the first must be 0."""

    shoppers: int
    wrong_states: int
    wrong_lists: int


def expect(source: Iterable[Any]) -> dict[bytes, Expected]:
    """Compute each shopper's right state and list without the code that makes them."""
    expected: dict[bytes, Expected] = {}
    for record in source:
        value = json.loads(record.value)
        before = expected.get(record.key) or Expected([], set(), -1)
        before.bought.append(value["product_id"])
        before.baskets.add(value["basket_id"])
        expected[record.key] = before._replace(newest=record.offset)
    return expected


def judge(
    expected: Mapping[bytes, Expected], states: Mapping[bytes, bytes], lists: Mapping[bytes, bytes]
) -> Verdict:
    """Compare the newest state and list of every shopper with what is expected."""
    wrong_states = sum(not _holds(states.get(key), wanted) for key, wanted in expected.items())
    wrong_lists = sum(
        not _answers(lists.get(key), key, wanted.newest) for key, wanted in expected.items()
    )
    return Verdict(len(expected), wrong_states, wrong_lists)


def _holds(value: bytes | None, wanted: Expected) -> bool:
    """Whether a state holds all purchases, in their order, once."""
    if value is None:
        return False
    state = user_state.decode(value)
    newest = [stable_hash(product) for product in wanted.bought[-user_state.MAX_SEQUENCE :]]
    counts = (len(wanted.bought), len(wanted.baskets))
    return (state.purchases, state.baskets) == counts and state.interactions()[
        "product"
    ].tolist() == newest


def _answers(value: bytes | None, key: bytes, offset: int) -> bool:
    """Whether a list is the shopper's, answers this event, and is of a state that knows it."""
    message = json.loads(value) if value else {}
    return bool(message) and (
        message["user_id"].encode(),
        message["trigger"]["offset"],
        message["version"],
    ) == (key, offset, RECORD * (offset + 1))
