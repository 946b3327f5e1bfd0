"""Bytes to events and lists to bytes.

Pure. Bad input is a value (`Invalid`), never an exception, and keeps its place.

Limits come before parsing. What almost every producer sends is read by
`worker.pipeline.plain_json`; the rest, and all that is refused, by pydantic's own parser, which
builds the model without a dictionary between.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import orjson
from msgspec import Struct
from pydantic import ValidationError

from pprm.catalogue import catalogue, promotions
from pprm.catalogue.texts import product_text, profile_text
from pprm.core.events import (
    SOURCE_OF,
    SOURCES,
    Event,
    Interaction,
    Kind,
    Position,
    Profile,
    Request,
)
from pprm.core.ids import fingerprint, stable_hash
from pprm.state.user_state import store_code
from schemas import requests
from schemas.browses import Browse
from schemas.dead_letters import Why
from schemas.families import FAMILIES, USER_KEYED
from schemas.limits import EARLIEST, MAX_ID_BYTES, Message
from schemas.products import Product, Promotion
from schemas.purchases import Purchase
from schemas.recommendations import Cause
from schemas.reviews import Review
from schemas.users import User
from worker.kafka.batches import Record, RecordHeaders, Unreadable
from worker.pipeline import envelopes, plain_json
from worker.pipeline.sentiment import sentiment

MAX_VALUE_BYTES = 512 * 1024
"""What the schema allows, every character of every text written as JSON escapes, fits."""
FUTURE_SECONDS = 300.0
"""How far ahead of our clock an event may be: clocks differ, but not by a day."""
MAX_TRACEPARENT, MAX_TRACESTATE = 256, 512
"""In bytes. W3C's trace parent has 55, later ones may have more; trace states have up to 512."""
SOURCE = "pprm-worker"
PLACEMENT = "home"
"""The place of a list in the shop. There is one; lists for another place will have other ids."""

AMessage = TypeVar("AMessage", bound=Message)
Headers = list[tuple[str, bytes]]
Mended: TypeAlias = defaultdict[str, int]
"""How often what was mended of records instead of refusing them: `MENDED`."""
MENDED = ("text", "record_time")
"""Texts cut to their limit; record times that cannot be, for which the worker's clock stands in."""
_EARLIEST = EARLIEST.timestamp()


class Invalid(NamedTuple):
    """Why a record was refused."""

    reason: Why
    detail: str
    stage: str = "decode"


class Decoded(Struct, frozen=True, gc=False):
    """What a user-keyed record says."""

    event: Event
    user_id: str
    event_id: str


class Trigger(Struct, frozen=True, gc=False):
    """Why there is a list, and the record that it follows from; see `schemas.recommendations`."""

    kind: Cause
    topic: str
    partition: int
    offset: int
    event_id: str | None = None


class Answer(Struct, frozen=True, gc=False):
    """The content of a recommendation record.

    It has the shopper, why there is a list, the model, and the items, best first.
    """

    user_id: str
    version: int
    trigger: Trigger
    model: Mapping[str, str]
    """name, version, sha256"""
    items: Iterable[tuple[str, float, list[str]]]
    """Product id, probability, reasons."""
    headers: RecordHeaders = ()
    """Those of the record answered: its trace is passed on."""


def decode(
    family: str, record: Record, now: float, mended: Mended | None = None, log: int = 0
) -> Decoded | Invalid:
    """Read a record of a user-keyed topic; see `decode_all`."""
    return decode_all(family, [record], now, mended, log)[0]


def decode_all(
    family: str, records: Sequence[Record], now: float, mended: Mended | None = None, log: int = 0
) -> list[Decoded | Invalid]:
    """Read records of a user-keyed topic, each in its place.

    `now` is Unix seconds, `mended` counts what was mended, `log` is the number of the topic's log
    (`Position.log`).
    """
    source, model, to_event = SOURCES.index(family), _MODELS[family], _TO_EVENT.get(family)
    id_field = next((name for name in envelopes.IDS if name in model.model_fields), "")
    mended = defaultdict(int) if mended is None else mended

    def read(record: Record, message: Any) -> Decoded | Invalid:
        user_id = _envelope(record)
        if isinstance(user_id, Invalid):
            return user_id
        position = Position(source, record.partition, record.offset, log)
        if record.value is None:
            return _tombstone(family, record, position, user_id, now, mended)
        if message is None and isinstance(
            message := _message(model, record.value, record.headers, mended), Invalid
        ):
            return message
        if message.user_id != user_id:
            detail = f"the key is not the value's user_id{envelopes.key_hint(user_id)}"
            return Invalid("key", detail, "validate")
        event = (
            to_event(message, position)
            if to_event
            else _profile(message, position, record, now, mended)
        )
        if event.time > now + FUTURE_SECONDS:
            return Invalid(
                "future",
                f"the event lies {event.time - now:.0f} s ahead of the worker's clock",
                "validate",
            )
        return Decoded(event, user_id, getattr(message, id_field, "") or _record_id(record))

    return list(map(read, records, _plain(model, records)))


def _tombstone(
    family: str, record: Record, position: Position, user_id: str, now: float, mended: Mended
) -> Decoded | Invalid:
    if family != "users":
        return Invalid("tombstone", "a null value means something on users and products only")
    return Decoded(
        Profile(position, _time_of(record, now, mended), None), user_id, _record_id(record)
    )


def record_time(record: Record, now: float) -> float | None:
    """Return the record's own time, Unix seconds.

    None where it lies outside of the limits for event times.

    Producers have written Unix seconds where Kafka has milliseconds, or -1.
    """
    time = (record.timestamp or 0) / 1000
    return time if _EARLIEST <= time <= now + FUTURE_SECONDS else None


def _time_of(record: Record, now: float, mended: Mended) -> int:
    """Return when a record without a time of its own was made.

    The worker's clock is used where the record's time is impossible.
    """
    time = record_time(record, now)
    if time is None:
        mended["record_time"] += 1
    return int(now if time is None else time)


def decode_product(
    record: Record, dimensions: int, mended: Mended | None = None
) -> tuple[str, catalogue.Product | None] | Invalid:
    """Read a record of the products topic.

    Returns the product's id, and the product, None where it is withdrawn.

    `dimensions` are those of the vectors that the model reads, `mended` counts what was mended.
    """
    key = _envelope(record)
    if isinstance(key, Invalid):
        return key
    if record.value is None:
        return key, None
    message = _message(
        Product, record.value, record.headers, defaultdict(int) if mended is None else mended
    )
    if isinstance(message, Invalid):
        return message
    if message.product_id != key:
        return Invalid(
            "key",
            f"the key is not the value's product_id{envelopes.key_hint(key)}",
            "validate",
        )
    if message.vector is not None and len(message.vector) != dimensions:
        detail = (
            f"the vector has {len(message.vector)} numbers, the model reads vectors of {dimensions}"
        )
        return Invalid("vector", detail, "validate")
    return key, to_catalogue(message)


def readable_key(record: Record) -> str | None:
    """The key of a record whose value is of no interest; None where it is no id."""
    key = _key(record)
    return None if isinstance(key, Invalid) else key


def _envelope(record: Record | Unreadable) -> str | Invalid:
    """The key as text, after the limits that need no parsing."""
    if isinstance(record, Unreadable):
        return Invalid("unreadable", record.why)
    if record.value is not None and len(record.value) > MAX_VALUE_BYTES:
        return Invalid(
            "oversize", f"the value has {len(record.value)} bytes, {MAX_VALUE_BYTES} are allowed"
        )
    return _key(record)


def _key(record: Record) -> str | Invalid:
    if not record.key or len(record.key) > MAX_ID_BYTES:
        return Invalid("key", f"the key must be an id of 1 to {MAX_ID_BYTES} bytes")
    try:
        text: str = record.key.decode()
    except UnicodeDecodeError:
        return Invalid("key", "the key is not UTF-8")
    return text


_PLAIN: dict[type[Message], Callable[[Sequence[bytes]], list[Any]]] = {
    model: plain_json.reader(model, "occurred_at") for model in (Purchase, Browse)
}


def _plain(model: type[Message], records: Sequence[Record]) -> list[Any]:
    """What the fast reader makes of the records, None where it makes nothing of one."""
    read = _PLAIN.get(model)
    if read is None:
        return [None] * len(records)
    return read([r.value if r.value and len(r.value) <= MAX_VALUE_BYTES else b"" for r in records])


def _message(
    model: type[AMessage], value: bytes, headers: RecordHeaders, mended: Mended
) -> AMessage | Invalid:
    """The message in a record's value, whatever lies around it."""
    try:
        inner = envelopes.opened(value, headers, model)
    except envelopes.EnvelopeError as error:
        return Invalid("envelope", str(error))
    message, cut = _parse(model, inner)
    if _lacks_something(message) and (completed := envelopes.completed(value, headers, model)):
        again, cut_again = _parse(model, completed)
        message, cut = (message, cut) if isinstance(again, Invalid) else (again, cut_again)
    if isinstance(message, Invalid) and (detail := envelopes.foreign(inner)):
        return Invalid("envelope", detail)
    if cut:
        mended["text"] += cut
    return message


def _lacks_something(message: Message | Invalid) -> bool:
    """Whether a CloudEvent's id or time may be of use."""
    return isinstance(message, Invalid) or (
        isinstance(message, User) and message.updated_at is None
    )


def _parse(model: type[AMessage], value: bytes) -> tuple[AMessage | Invalid, int]:
    """The message or why it is none, and how many of its texts were cut."""
    cut: list[str] = []
    try:
        return model.model_validate_json(value, context=cut), len(cut)
    except ValidationError as error:
        return _invalid(error, value), 0


def _invalid(error: ValidationError, value: bytes) -> Invalid:
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] != "json_invalid":
        where = ".".join(str(part)[:64] for part in first["loc"])
        return Invalid("schema", f"{where}: {first['msg']}"[:512], "validate")
    try:
        value.decode()
    except UnicodeDecodeError as not_text:
        return Invalid("encoding", f"not UTF-8 at byte {not_text.start}")
    reason: Why = "depth" if "recursion" in first["msg"] else "json"
    return Invalid(reason, first["msg"][:512])


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _seconds(time: datetime) -> int:
    since = time - _EPOCH
    return since.days * 86_400 + since.seconds


def _purchase(message: Purchase, position: Position) -> Interaction:
    basket = _basket_hash(message.basket_id) if message.basket_id else 0
    product, time = stable_hash(message.product_id), _seconds(message.occurred_at)
    is_plain = message.kind == "purchase" and message.quantity > 0
    kind = _BOUGHT if is_plain else Kind.RETURN if message.quantity else Kind.NOTHING
    return Interaction(
        position, kind, product, time, basket, 0.0, store_code(message.store_id),
        fingerprint=fingerprint(kind, message.event_id, product),
    )  # fmt: skip


_basket_hash = lru_cache(maxsize=1 << 12)(stable_hash.__wrapped__)
"""`stable_hash` of baskets' ids, cached apart: they come together, products' ids for ever."""
_BOUGHT = Kind.PURCHASE
"""Looked up once: an enum's attribute costs as much as the event."""
_ACTIONS = {kind.name.lower(): kind for kind in Kind if SOURCE_OF[kind] == SOURCES.index("browses")}


def _browse(message: Browse, position: Position) -> Interaction:
    product, time = stable_hash(message.product_id), _seconds(message.occurred_at)
    kind = _ACTIONS[message.action]
    known_by = fingerprint(kind, message.event_id, product)
    return Interaction(
        position, kind, product, time, dwell=message.dwell_seconds or 0.0, fingerprint=known_by
    )


def _review(message: Review, position: Position) -> Interaction:
    product, time = stable_hash(message.product_id), _seconds(message.occurred_at)
    known_by = fingerprint(Kind.REVIEW, message.event_id, product)
    return Interaction(
        position, Kind.REVIEW, product, time, sentiment=sentiment(message), fingerprint=known_by
    )


def _profile(
    message: User, position: Position, record: Record, now: float, mended: Mended
) -> Profile:
    time = _seconds(message.updated_at) if message.updated_at else _time_of(record, now, mended)
    return Profile(position, time, profile_text(message.text, message.attributes))


def _request(message: requests.Request, position: Position) -> Request:
    return Request(position, _seconds(message.occurred_at))


_MODELS: dict[str, type[Message]] = {name: FAMILIES[name].message for name in USER_KEYED}
_TO_EVENT: dict[str, Callable[[Any, Position], Event]] = {
    "purchases": _purchase,
    "browses": _browse,
    "reviews": _review,
    "requests": _request,
}


def to_catalogue(product: Product) -> catalogue.Product:
    """The product as the model sees it."""
    return catalogue.Product(
        product.product_id,
        product_text(product.title, product.description, product.categories, product.attributes),
        *catalogue.groups(product.categories, product.title),
        product.brand,
        product.available,
        tuple(entry for promotion in product.promotions for entry in _entries(promotion)),
        None if product.vector is None else np.array(product.vector, np.float32),
    )


_FOREVER = (1 << 32) - 1


def _entries(promotion: Promotion) -> Iterator[tuple[int, int, int, int]]:
    """A promotion as `promotions.ENTRY`, one for each store."""
    starts = _seconds(promotion.starts) if promotion.starts else 0
    until = _seconds(promotion.until) if promotion.until else _FOREVER
    bits = promotions.code(promotion.display, promotion.mailer)
    named = [*promotion.store_ids, *([promotion.store_id] if promotion.store_id else [])]
    for store in map(store_code, named) if named else [promotions.ALL_STORES]:
        yield starts, until, store, bits


def recommendation_id(user_id: str, version: int, items: bytes, model_sha256: str) -> str:
    """Make the id of a list: 128 bits of its content and its shopper.

    A list with the same id is the same list, and may be dropped as a repeat.

    Not of the record answered: after a crash the same record is answered again, from popularity and
    catalogue of then.
    """
    content = orjson.dumps([user_id, version, PLACEMENT, model_sha256, orjson.Fragment(items)])
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def encode_recommendation(answer: Answer, now: datetime) -> tuple[bytes, bytes, Headers]:
    """Make key, value and headers (CloudEvents 1.0, Kafka binary mode) of a list.

    Raises:     ValueError: a score is not finite; JSON would turn it into null.
    """
    trigger, generated_at, items = answer.trigger, _rfc3339(now), _items(answer)
    identity = recommendation_id(answer.user_id, answer.version, items, answer.model["sha256"])
    value = {
        "recommendation_id": identity,
        "user_id": answer.user_id,
        "version": answer.version,
        "generated_at": generated_at,
        "trigger": {
            "kind": trigger.kind, "topic": trigger.topic, "partition": trigger.partition,
            "offset": trigger.offset, "event_id": trigger.event_id,
        },
        "model": answer.model,
        "items": orjson.Fragment(items),
    }  # fmt: skip
    return (
        answer.user_id.encode(),
        orjson.dumps(value),
        _cloud_event(identity, generated_at) + _trace(answer.headers),
    )


def _items(answer: Answer) -> bytes:
    """The items as JSON."""
    items = []
    for rank, (product_id, score, reasons) in enumerate(answer.items, start=1):
        if not isfinite(score):
            raise ValueError(f"the score of rank {rank} is {score}")
        items.append(
            {
                "product_id": product_id,
                "rank": rank,
                "score": round(score * 1e6) / 1e6,
                "reasons": reasons,
            }
        )
    return orjson.dumps(items)


_CLOUD_EVENT: Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("ce_type", b"com.pprm.recommendation.v1"),
    ("content-type", b"application/json"),
]


def _cloud_event(identity: str, time: str) -> Headers:
    return [*_CLOUD_EVENT, ("ce_id", identity.encode()), ("ce_time", time.encode())]


def _trace(headers: RecordHeaders) -> Headers:
    """Return W3C trace context within its limits.

    A trace state keeps whole members; a parent that is none is dropped.

    https://www.w3.org/TR/trace-context/#tracestate-limits
    """
    if not headers:
        return []
    context: dict[str, bytes] = {}
    for name, value in headers:
        if name in ("traceparent", "tracestate") and value:
            context.setdefault(name, value)
    if len(context.get("traceparent", b"")) > MAX_TRACEPARENT:
        return []
    if len(state := context.get("tracestate", b"")) > MAX_TRACESTATE:
        context["tracestate"] = state[: MAX_TRACESTATE + 1].rpartition(b",")[0]
    return list(context.items())


def largest_list(k: int) -> int:
    """Bytes that a list of k products takes at most, headers included: ids may be all escapes."""
    text = 6 * MAX_ID_BYTES
    return k * (text + 512) + 3 * text + 4096


def _record_id(record: Record) -> str:
    return f"{record.topic}-{record.partition}-{record.offset}"


@lru_cache(maxsize=16)  # all lists of a micro-batch have the same
def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
