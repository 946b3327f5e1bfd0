"""The rights that a worker needs on the broker.

The documentation, the tests and the start use this one list.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from schemas.families import READ, WRITTEN
from worker.settings import Settings

Operation: TypeAlias = Literal["Read", "Write", "Describe", "DescribeConfigs"]
CODES: dict[Operation, int] = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
"""Numbers of the operations in Kafka's protocol, and their bits in its answers."""


@dataclass(frozen=True, slots=True)
class Acl:
    """Operations that are to be allowed on some resources of a kind.

    Read and Write include Describe.
    """

    kind: Literal["topic", "group", "transactional-id"]
    names: tuple[str, ...]
    operations: tuple[Operation, ...]
    prefixed: bool = False
    """The names are beginnings of names."""


def needed(settings: Settings) -> list[Acl]:
    """Return all rights that a worker needs; creating topics is not among them.

    Transactional ids are for delivery exactly_once only.
    """
    name = settings.topics.name
    own = settings.changelog, settings.rekeyed_topic, settings.popularity_topic
    return [
        Acl("topic", tuple(map(name, READ)), ("Read",)),
        Acl("topic", tuple(map(name, WRITTEN)), ("Write", "DescribeConfigs")),
        Acl("topic", own, ("Read", "Write", "DescribeConfigs")),
        Acl("group", (settings.app_id,), ("Read",)),
        Acl("transactional-id", (f"{settings.app_id}-",), ("Describe", "Write"), prefixed=True),
    ]


def commands(acls: Iterable[Acl], principal: str) -> Iterator[list[str]]:
    """Return arguments of `kafka-acls.sh` that allow it, one list a command.

    The broker's address comes before them.
    """
    for acl in acls:
        operations = [word for operation in acl.operations for word in ("--operation", operation)]
        names = [word for name in acl.names for word in (f"--{acl.kind}", name)]
        pattern = ["--resource-pattern-type", "prefixed"] if acl.prefixed else []
        yield ["--add", "--allow-principal", principal, *operations, *names, *pattern]


def script(settings: Settings, principal: str) -> Iterator[str]:
    """The same as lines for a shell; `admin.properties` is the administrator's own."""
    start = ["kafka-acls.sh", "--bootstrap-server", settings.kafka.bootstrap_servers]
    for arguments in commands(needed(settings), principal):
        yield shlex.join([*start, "--command-config", "admin.properties", *arguments])


async def missing(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Return what the broker would refuse to this client, readable.

    An example is `Write on topic recommendations`. Topics that do not exist and brokers that do not
    answer this are passed over. Rights to transactional ids cannot be asked for.
    """
    refused = []
    for acl in needed(settings):
        allowed = {"topic": _on_topics, "group": _on_groups}.get(acl.kind)
        for name, bits in (await allowed(admin, acl.names)).items() if allowed else ():
            refused += [
                f"{op} on {acl.kind} {name}" for op in acl.operations if not bits >> CODES[op] & 1
            ]
    return refused


async def describe_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the broker knows of these topics, without having it create those that do not exist."""
    response = await admin._client.send(admin._client.get_random_node(), _Metadata(names))
    topics: list[dict[str, Any]] = response.to_object()["topics"]
    return topics


async def _on_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Bits of the operations allowed on each topic that exists."""
    allowed = {}
    for topic in await describe_topics(admin, names):
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            allowed[topic["topic"]] = 0
        # else the broker does not tell
        elif topic["error_code"] == 0 and topic["authorized_operations"] > 0:
            allowed[topic["topic"]] = topic["authorized_operations"]
    return allowed


async def _on_groups(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """No bits for each consumer group that we may not even look for."""
    refused = {}
    for name in names:
        try:
            await admin.find_coordinator(name)
        except GroupAuthorizationFailedError:
            refused[name] = 0
        except KafkaError:  # a fresh cluster has no coordinator yet
            continue
    return refused


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 3, 8
    _NODES = Array(Int32)
    _PARTITION = (
        ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
        ("replicas", _NODES),
        ("isr", _NODES), ("offline_replicas", _NODES),
    )  # fmt: skip
    _TOPIC = (
        ("error_code", Int16), ("topic", String("utf-8")), ("is_internal", Boolean),
        ("partitions", Array(*_PARTITION)), ("authorized_operations", Int32),
    )  # fmt: skip
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        ("topics", Array(*_TOPIC)),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = 3, 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_MetadataRequest]):  # type: ignore[misc]
    """Ask for topics with what the client may do on them, which Kafka 2.3 and later know.

    aiokafka has older versions only.
    """

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def build(self, struct: type[_MetadataRequest]) -> _MetadataRequest:
        return struct(self.names, False, False, True)
