"""`pprm backfill`: a shop's tables (docs/data.md) published to the topics: products, users, then events in file order.

Set `recommendations.score_from` to where the past ends: what is before it is folded and not answered.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from pprm.datasets.dataset import Product
from pprm.datasets.rows import Event, Rows, User
from pprm.events import SOURCE_OF, SOURCES, Kind
from worker.send import Envelope, SendError, compose

AT_ONCE = 2000
"""Messages that wait for the broker at a time."""


def messages(rows: Rows) -> Iterator[tuple[str, Envelope]]:
    """Topic family and message of each row.

    Raises:
        SendError: a row is no valid message; it names the row.
    """
    for product in rows.products:
        yield _checked("products", _product(product))
    for user in rows.users:
        yield _checked("users", _user(user))
    for number, event in enumerate(rows.events):
        yield _checked(_family(event), _event(event, number))


def _checked(family: str, fields: Mapping[str, Any]) -> tuple[str, Envelope]:
    try:
        return family, compose(family, fields)
    except SendError as error:
        raise SendError(f"{family}, {str(fields)[:200]}: {error}") from error


def _family(event: Event) -> str:
    return SOURCES[SOURCE_OF[event.kind]]


def _product(product: Product) -> dict[str, Any]:
    return {name: value for name, value in product._asdict().items() if value is not None}


def _user(user: User) -> dict[str, Any]:
    return {"user_id": user.user_id, "attributes": user.attributes} | ({"text": user.text} if user.text else {})


def _event(event: Event, number: int) -> dict[str, Any]:
    family = _family(event)
    wanted = {
        "purchases": ("basket_id", "store_id", "quantity", "price"), "reviews": ("rating", "text", "sentiment"),
    }.get(family, ("dwell_seconds",))  # fmt: skip
    said = {name: value for name in wanted if (value := getattr(event, name)) not in (None, "")}
    if family == "browses" or event.kind is Kind.RETURN:
        said["action" if family == "browses" else "kind"] = event.kind.name.lower()
    at = datetime.fromtimestamp(event.occurred_at, UTC).isoformat()
    return {
        "event_id": f"backfill-{number}", "user_id": event.user_id, "product_id": event.product_id, "occurred_at": at,
    } | said  # fmt: skip


async def publish(
    client: Mapping[str, Any], topic_of: Callable[[str], str], rows: Rows, told: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Publish in order and wait for every acknowledgement; returns how many messages of each family there were."""
    counts: Counter[str] = Counter()
    async with AIOKafkaProducer(acks="all", linger_ms=20, max_batch_size=1 << 18, **client) as producer:
        waiting: list[asyncio.Future[Any]] = []
        for family, message in messages(rows):
            sent = producer.send(topic_of(family), message.value, message.key, headers=message.headers)
            waiting.append(await sent)
            counts[family] += 1
            if len(waiting) >= AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
                told(counts)
        await asyncio.gather(*waiting)
    return counts
