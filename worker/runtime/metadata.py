"""What the broker knows of topics: which log a name stands for now, and how many partitions it has.

A topic that is deleted and created again keeps its name and gets another id (KIP-516). aiokafka
asks for metadata of before that, so the request is made here, with its protocol types.
https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, NamedTuple
from zlib import crc32

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

NONE = 0
"""The number of a log whose topic has no id: the broker has none (Apache Kafka before 2.8)."""


class Topic(NamedTuple):
    """A topic that exists."""

    log: int
    """32 bits of the topic's id, which tell logs of one name apart; `NONE` where it has none."""
    partitions: int


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


class _AnswerWithIds(Response):  # type: ignore[misc]
    """See https://kafka.apache.org/protocol#The_Messages_Metadata."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(
            ("node_id", Int32), ("host", CompactString("utf-8")), ("port", Int32),
            ("rack", CompactString("utf-8")),
            ("tags", TaggedFields),
        )),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        ("topics", CompactArray(
            ("error_code", Int16), ("topic", CompactString("utf-8")), ("topic_id", _Uuid),
            ("is_internal", Boolean),
            ("partitions", CompactArray(
                ("error_code", Int16), ("partition", Int32), ("leader", Int32),
                ("leader_epoch", Int32),
                ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)),
                ("offline_replicas", CompactArray(Int32)), ("tags", TaggedFields),
            )),
            ("authorized_operations", Int32), ("tags", TaggedFields),
        )),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )  # fmt: skip


class _QuestionForIds(RequestStruct):  # type: ignore[misc]
    """The first version whose answer has topic ids."""

    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _AnswerWithIds
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Describe(Request[MetadataRequest_v5 | _QuestionForIds]):  # type: ignore[misc]
    """Of the newest of the two versions that the broker has."""

    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is MetadataRequest_v5:
            return MetadataRequest_v5(self._names, False)
        return _QuestionForIds(
            [(bytes(16), name, {}) for name in self._names], False, False, False, {}
        )


async def describe(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, Topic]:
    """The topics of these names that exist.

    Args:
        client: an aiokafka client that has started, as `worker.kafka.reader.client_of`.
        names: of topics.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    if (node := client.get_random_node()) is None:
        raise KafkaConnectionError("no broker is known")
    response = await client.send(node, _Describe(names))
    found = {}
    for topic in response.topics:
        error, name = topic[:2]
        identity = topic[2] if response.API_VERSION >= _QuestionForIds.API_VERSION else b""
        partitions = topic[4 if identity else 3]
        if not error and partitions:
            found[name] = Topic(number(identity), len(partitions))
    return found


def number(identity: bytes) -> int:
    """32 bits of a topic's id, `NONE` for none."""
    return crc32(identity) or 1 if any(identity) else NONE


@asynccontextmanager
async def connected(client: Mapping[str, Any]) -> AsyncIterator[AIOKafkaClient]:
    """A plain aiokafka client, for questions."""
    made = AIOKafkaClient(**client)
    await made.bootstrap()
    try:
        yield made
    finally:
        await made.close()


def install() -> None:
    """Have no aiokafka client of this process create a topic by asking for it.

    By default a broker creates whatever is asked for, with one partition and none of its settings:
    a deleted topic would be back, wrong, before anybody could create it.
    """
    build = MetadataRequest.build

    def without_creating(self: MetadataRequest, request_struct_class: Any) -> Any:
        self._allow_auto_topic_creation = False
        return build(self, request_struct_class)

    MetadataRequest.build = without_creating
