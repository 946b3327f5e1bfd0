"""The topics as designed: make them, or say how those on the broker differ."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, for_code

from pprm.core.errors import Foreseen
from schemas.families import DAY_MS, FAMILIES, Configuration
from worker.kafka import acls, refusal
from worker.settings import Settings

KNOWS_ITSELF_SECONDS = 10
ALREADY_EXISTS = 36
UNKNOWN_TOPIC = 3

# never `delete`: a changelog cut by retention would lose states. The lag spares a recovering worker
# moving ground.
_CHANGELOG = {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000"}
_REKEYED = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)}
_POPULARITY = {"cleanup.policy": "compact", "segment.ms": "3600000"}


SAY_AGAIN_SECONDS = 60.0
"""Between two lines that say that a broker is waited for."""

log = structlog.get_logger(__name__)


class TopicsError(Foreseen, RuntimeError):
    """The topics on the broker cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as designed."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


def plan(settings: Settings) -> list[TopicSpec]:
    """Return all topics of a worker, its own last.

    Its own are popularity, which has one partition, and its state's changelog.
    """
    topics = settings.topics
    named = [
        (topics.name(family.name), _text(family.configuration)) for family in FAMILIES.values()
    ]
    named += [(settings.rekeyed_topic, _REKEYED), (settings.changelog, _CHANGELOG)]
    popularity = TopicSpec(settings.popularity_topic, 1, topics.replication, _POPULARITY)
    specs = [
        TopicSpec(name, topics.partitions, topics.replication, config) for name, config in named
    ]
    return [*specs[:-1], popularity, specs[-1]]


def _text(config: Configuration) -> dict[str, str]:
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in config.items()
    }


async def create(client: Mapping[str, Any], specs: Iterable[TopicSpec]) -> list[str]:
    """Create the topics that are missing; returns their names.

    Args:
        client: keyword arguments of an aiokafka client, `settings.client_settings`.
        specs: topics as designed.

    Raises:
        TopicsError: the broker refused one.
    """
    new = [
        NewTopic(s.name, s.partitions, s.replication, topic_configs=dict(s.config)) for s in specs
    ]
    async with admin_client(client) as admin:
        response = await admin.create_topics(new)
    created = []
    for name, code, *message in response.topic_errors:
        if code not in (0, ALREADY_EXISTS):
            raise TopicsError(
                f"topic {name} was not created: {for_code(code).__name__}"
                f" {message[0] if message else ''}"
            )
        if code == 0:
            created.append(name)
    return created


async def check(client: Mapping[str, Any], specs: Iterable[TopicSpec]) -> list[str]:
    """Compare partitions, replication and cleanup policy with the broker.

    Returns the differences, readable.
    """
    wanted = list(specs)
    async with admin_client(client) as admin:
        found = {
            topic["topic"]: topic
            for topic in await acls.describe_topics(admin, [s.name for s in wanted])
        }
        there = [s for s in wanted if s.name in found and not found[s.name]["error_code"]]
        policies = await _configurations(admin, [s.name for s in there], "cleanup.policy")
    problems = [
        f"{s.name}: does not exist; run `pprm topics create`" for s in wanted if s not in there
    ]
    for spec in there:
        problems += _differences(spec, found[spec.name]["partitions"], policies.get(spec.name))
    return problems


def _differences(
    spec: TopicSpec, partitions: list[dict[str, Any]], policy: str | None
) -> list[str]:
    differences = []
    if len(partitions) != spec.partitions:
        differences.append(
            f"{spec.name}: has {len(partitions)} partitions,"
            f" {spec.partitions} are set (topics.partitions)"
        )
    if (copies := len(partitions[0]["replicas"])) != spec.replication:
        differences.append(
            f"{spec.name}: has {copies} replicas, {spec.replication} are set (topics.replication)"
        )
    designed = spec.config["cleanup.policy"]
    # None: the embedded broker does not tell every setting, and what is not told cannot be wrong
    if policy is not None and set(policy.split(",")) != set(designed.split(",")):
        differences.append(
            f"{spec.name}: cleanup.policy is {policy}, must"
            f" be {designed}; change it with kafka-configs"
        )
    return differences


async def configurations(
    client: Mapping[str, Any], names: Iterable[str], setting: str
) -> dict[str, str]:
    """Read a setting of each topic, the broker's default included.

    The embedded broker does not have them.
    """
    async with admin_client(client) as admin:
        return await _configurations(admin, list(names), setting)


async def _configurations(
    admin: AIOKafkaAdminClient, names: list[str], setting: str
) -> dict[str, str]:
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, name, configs={setting: ""}) for name in names
    ]
    found: dict[str, str] = {}
    try:
        responses = await admin.describe_configs(wanted) if wanted else []
    except KafkaConnectionError:  # the embedded broker hangs up on this request
        return {}
    for response in responses:
        for code, _, _, topic, entries in response.resources:
            if code == 0:
                found.update(
                    (topic, entry[1]) for entry in entries if entry[0] == setting and entry[1]
                )
    return found


async def partition_counts(client: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Number of partitions of each topic, 0 where it does not exist."""
    wanted = list(names)
    async with admin_client(client) as admin:
        described = await acls.describe_topics(admin, wanted)
    found = {
        topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]
    }
    return {name: found.get(name, 0) for name in wanted}


async def require_allowed(client: Mapping[str, Any], settings: Settings) -> None:
    """Refuse to start without the rights that a worker needs.

    To find out in the middle of a batch is too late.

    Raises:
        TopicsError: the broker would refuse something; the message names the operation and the
        topic.
    """
    async with admin_client(client) as admin:
        if refused := await acls.missing(admin, settings):
            listed = ", ".join(refused)
            raise TopicsError(
                f"the broker does not allow us: {listed}. `pprm"
                " topics acls` prints all that is needed."
            )


def require_equal(counts: Mapping[str, int]) -> None:
    """Refuse topics that have different numbers of partitions.

    A shopper must have the same partition number in all of them.

    Raises:
        TopicsError: which differ.
    """
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise TopicsError(
            "the topics keyed by user need equal numbers of partitions,"
            f" but {listed}. `pprm repartition` makes them equal and"
            " moves the states; docs/operations.md has the steps."
        )


def require_there(counts: Mapping[str, int]) -> None:
    """Refuse topics that are missing (0 partitions)."""
    if missing := sorted(name for name, count in counts.items() if not count):
        raise TopicsError(
            f"these topics do not exist: {', '.join(missing)}. Run `pprm topics create`."
        )


async def wait_for_broker(client: Mapping[str, Any]) -> None:
    """Come back when the broker answers; a broker that is down at the start is waited for.

    Raises:
        TopicsError: it is there and refuses us; waiting would not help.
    """
    say = 0.0
    while True:
        try:
            with _quiet_client():
                async with admin_client(client):
                    return
        except KafkaConnectionError as error:
            if monotonic() >= say:
                log.warning(
                    "waiting for the broker: is it where kafka.bootstrap_servers says?",
                    error=str(error),
                )
                say = monotonic() + SAY_AGAIN_SECONDS
            await asyncio.sleep(2)


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep aiokafka quiet, which would log each try: the worker itself says that it waits."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@asynccontextmanager
async def admin_client(client: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administrator's client, once the broker names itself and its controller."""
    admin = AIOKafkaAdminClient(**client)
    try:
        await _start(admin, client)
        yield admin
    finally:
        await admin.close()


async def _start(admin: AIOKafkaAdminClient, client: Mapping[str, Any]) -> None:
    try:
        await admin.start()
    except KafkaConnectionError:
        if reason := await refusal.why(client):
            raise TopicsError(reason) from None
        raise
    await _until_it_knows_itself(admin)


async def _until_it_knows_itself(admin: AIOKafkaAdminClient) -> None:
    """Wait until a new broker names its brokers and a controller; it answers before that.

    Raises:
        KafkaConnectionError: it does not name them in time.
    """
    for _ in range(KNOWS_ITSELF_SECONDS * 5):
        if admin._client.cluster.brokers() and admin._client.cluster.controller:
            return
        await asyncio.sleep(0.2)
        await admin._client.force_metadata_update()
    raise KafkaConnectionError("the broker answers, but names no broker")
