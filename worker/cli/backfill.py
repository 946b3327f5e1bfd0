"""`pprm backfill` publishes a shop's tables (docs/data.md) to the topics.

Products come first, then users, then events in time order.

All rows are read, checked and sorted before the first is published, and what the topics hold
already is not published again (ADR 22). Set `recommendations.score_from` to where the past ends:
what is before it is folded and not answered.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from pprm.core.events import SOURCE_OF, SOURCES, Kind
from pprm.data.dataset import ShopProduct
from pprm.data.reading_report import Report, Unusable
from pprm.data.rows import EVENTS, SAME_EVENT, UNKNOWN_PRODUCT, Event, Rows, ShopUser
from schemas import families
from worker.cli.external_sort import Sorter
from worker.cli.published import Published, known_by
from worker.cli.repeats import FoundRepeats, Repeats
from worker.cli.send import MODELS, Envelope, SendError, check, dress

AT_ONCE = 2000
"""Messages that wait for the broker at a time."""
PRODUCTS, USERS = -2, -1
"""Keys by which they are sorted before all events, whose keys are their times."""
FAMILIES = ("products", "users", *families.EVENTS)
BEFORE = "before --since"
_HEAD = Struct("<BQ")
"""Before a message on disk: its family, and what a repeat is recognised by."""

Fields = dict[str, Any]
OnProgress = Callable[[int, int], None]
"""Called with how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class History:
    """A shop's tables, checked and in the order in which they are published."""

    sorted: Sorter
    report: Report
    counts: Counter[str]
    """Messages, by family, repeats among them."""
    repeats: FoundRepeats

    @property
    def total(self) -> int:
        """Messages to publish."""
        return self.counts.total() - self.repeats.count

    def messages(self) -> Iterator[tuple[str, Fields]]:
        """Yield family and fields of each message, in the order of publishing.

        Products come first, then users, then events by time; events of one time are in the order of
        the file. Of events with one id only the first is published.
        """
        is_repeat = self.repeats.left_out()
        for _, rows in groupby(self.sorted, key=itemgetter(0)):
            unpacked = (_unpacked(content) for _, content in rows)
            yield from _with_ids(
                (f, fields) for f, known, fields in unpacked if not is_repeat(known)
            )


def prepare(rows: Rows, directory: Path, since: int = 0, memory: int | None = None) -> History:
    """Read a shop's tables whole and sort them; nothing is published.

    Args:
        rows: the tables.
        directory: for what does not fit into memory.
        since: Unix seconds; events before are left out.
        memory: bytes of rows in memory; None: `external_sort.MEMORY`.

    Raises:
        pprm.data.reading_report.TableError: most of them cannot be used.
    """
    sorter = Sorter(directory) if memory is None else Sorter(directory, memory)
    counts, report, repeats = Counter[str](), rows.report, Repeats()
    products, oldest = set[str](), 0

    def timed() -> Iterator[Event]:
        nonlocal oldest
        for event in rows.events:
            oldest = min(oldest or event.occurred_at, event.occurred_at)
            yield event

    def take(key: int, family: str, fields: Fields, name: str, known: int = 0) -> None:
        try:
            check(family, {"event_id": "-", **fields})
        except SendError as error:
            report.unusable(family, Unusable(str(error)), name)
            return
        sorter.add(key, _packed(family, known, fields))
        counts[family] += 1

    for product in rows.products:
        products.add(product.product_id)
        take(PRODUCTS, "products", _product(product), repr(product.product_id))
    for event, known in _since(since, _usable(timed(), products, report), repeats, report):
        take(event.occurred_at, _family(event), _event(event), repr(event.user_id), known)
    report.check(EVENTS)
    found = repeats.found()
    report.passed_over(EVENTS, SAME_EVENT, count=found.count)
    for user in rows.users:
        take(USERS, "users", _user(user, oldest), repr(user.user_id))
    return History(sorter, report, counts, found)


def _usable(events: Iterable[Event], known: set[str], report: Report) -> Iterator[Event]:
    """Events of known products, as a model learns from them."""
    part = report.part(EVENTS)
    for event in events:
        part.read += 1
        if event.product_id in known:
            yield event
        else:
            report.unusable(EVENTS, Unusable(UNKNOWN_PRODUCT), repr(event.product_id))


def _since(
    since: int, events: Iterable[Event], repeats: Repeats, report: Report
) -> Iterator[tuple[Event, int]]:
    """Events from a time on, with what each is known by; `repeats` takes those before, too."""
    for event in events:
        known = repeats.add(event, is_older := event.occurred_at < since)
        if is_older:
            report.passed_over(EVENTS, BEFORE)
        else:
            yield event, known


def _packed(family: str, known: int, fields: Fields) -> bytes:
    return _HEAD.pack(FAMILIES.index(family), known) + orjson.dumps(
        fields, option=orjson.OPT_SERIALIZE_NUMPY
    )


def _unpacked(content: bytes) -> tuple[str, int, Fields]:
    family, known = _HEAD.unpack_from(content)
    return FAMILIES[family], known, orjson.loads(content[_HEAD.size :])


def _with_ids(rows: Iterable[tuple[str, Fields]]) -> Iterator[tuple[str, Fields]]:
    """Yield the rows of one key; each event has an id.

    It is the event's own, or one that is made of its fields.
    """
    alike = Counter[bytes]()
    for family, fields in rows:
        if family in families.EVENTS and "event_id" not in fields:
            same = _identity(family, fields)
            alike[same] += 1
            fields = {"event_id": _numbered(same, alike[same]), **fields}
        yield family, fields


IDENTITY = ("user_id", "product_id", "occurred_at", "action", "kind", "basket_id", "store_id")
"""Fields that identify an event without an id.

Price, quantity and text are not among them: corrected, it is the same event.
"""


def _identity(family: str, fields: Fields) -> bytes:
    parts = (family, *(str(fields.get(name, "")) for name in IDENTITY))
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()


def _numbered(identity: bytes, number: int) -> str:
    """Return the id of a row, the `number`-th of those that are equal; the same in every run.

    So two units that were bought as two equal rows have different ids.
    """
    return blake2b(identity + number.to_bytes(8, "little"), digest_size=16).hexdigest()


def _family(event: Event) -> str:
    return SOURCES[SOURCE_OF[event.kind]]


def _product(product: ShopProduct) -> Fields:
    return {name: value for name, value in product._asdict().items() if value is not None}


def _user(user: ShopUser, oldest: int) -> Fields:
    """Return a user's message, with a time before all events.

    A later time would make the shopper's last event seem newer than it is.
    """
    about = {"text": user.text} if user.text else {}
    since = {"updated_at": _time(oldest)} if oldest else {}
    return {"user_id": user.user_id, "attributes": user.attributes} | about | since


_CARRIED = {
    family: [
        name
        for name in MODELS[family].model_fields
        if name in Event._fields and name not in ("user_id", "product_id", "occurred_at", "kind")
    ]
    for family in families.EVENTS
}
"""By family the fields that a row of the table and its message have in common."""


def _event(event: Event) -> Fields:
    family = _family(event)
    who_and_when = {
        "user_id": event.user_id,
        "product_id": event.product_id,
        "occurred_at": _time(event.occurred_at),
    }
    fields = {name: getattr(event, name) for name in _CARRIED[family]}
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    return who_and_when | given | _kind(family, event.kind)


@cache
def _kind(family: str, kind: Kind) -> Fields:
    """Return the field that says what was done; none for what is the family's default."""
    fields, name = MODELS[family].model_fields, kind.name.lower()
    return {
        field: name
        for field in ("action", "kind")
        if field in fields and fields[field].default != name
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def publish(
    client: Mapping[str, Any],
    topic_of: Callable[[str], str],
    past: History,
    published: Published,
    on_progress: OnProgress,
) -> tuple[Counter[str], Counter[str]]:
    """Publish in order, and wait for every acknowledgement.

    Returns: how many messages of each family were published, and how many the topics held already.
    """
    counts, held, total, done = Counter[str](), Counter[str](), past.total, 0
    async with AIOKafkaProducer(
        acks="all", linger_ms=20, max_batch_size=1 << 18, **client
    ) as producer:
        messages = past.messages()
        while some := list(islice(messages, AT_ONCE)):
            waiting: list[asyncio.Future[Any]] = []
            for (family, fields), there in zip(
                some, published.holds([known_by(*one) for one in some]), strict=True
            ):
                (held if there else counts)[family] += 1
                if not there:
                    message: Envelope = dress(family, fields)
                    waiting.append(
                        await producer.send(
                            topic_of(family), message.value, message.key, headers=message.headers
                        )
                    )
            await asyncio.gather(*waiting)
            done += len(some)
            on_progress(done, total)
    return counts, held
