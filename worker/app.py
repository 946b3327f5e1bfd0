"""Composition: settings in, a Faust app with everything wired out. The one place where parts meet.

`faust -A worker.app worker` finds `app` here; `pprm worker` is the same with flags.
"""

from importlib.metadata import version
from time import monotonic, time
from typing import Any

import structlog

from pprm.serving import rules as shop_rules
from schemas.dead_letters import REASONS
from schemas.families import READ
from worker.kafka import placement, topics
from worker.kafka.batches import Record
from worker.ops import health, http, logs, metrics, state_directory
from worker.ops.health import Health
from worker.pipeline import (
    catalogue,
    codec,
    message_limits,
    monitor,
    popularity,
    recommender,
    rekeying,
    topic_watch,
)
from worker.pipeline import pipeline as agents
from worker.pipeline.catalogue import Change, Changes, Decode
from worker.pipeline.context import Components, answer_or_wait
from worker.pipeline.listener import Listener
from worker.pipeline.newest import Newest
from worker.runtime import app as runtime
from worker.runtime.app import StateTable
from worker.runtime.delivery import AtLeastOnce, ExactlyOnce
from worker.runtime.services import Background, Before
from worker.settings import Settings, client_settings, load

TABLE = "user_state"

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> runtime.RuntimeApp:
    """Wire a worker; nothing is contacted or loaded before it starts."""
    kafka, client = settings.kafka, client_settings(settings.kafka)
    families = {settings.topics.name(family): family for family in READ}
    families[settings.rekeyed_topic] = rekeying.FAMILY
    instruments = metrics.create(list(families), REASONS, [TABLE], codec.MENDED)
    is_exactly_once = settings.delivery == "exactly_once"
    delivery = ExactlyOnce(client, settings.app_id) if is_exactly_once else AtLeastOnce(client)
    listener = Listener(instruments, families)
    app = runtime.create(
        settings.app_id,
        client,
        settings.state.directory,
        table=StateTable(TABLE, settings.topics.partitions, settings.state.memory),
        keyed=frozenset(families) - {settings.topics.name("products")},
        listener=listener,
        delivery=delivery,
        accepts_lost_states=settings.state.accept_lost,
        session_timeout=kafka.session_timeout_seconds,
        commit_interval=kafka.commit_interval_seconds,
        instance_id=kafka.instance_id,
    )
    c = Components(
        settings=settings,
        app=app,
        table=app.state_table,
        families=families,
        metrics=instruments,
        health=Health(),
    )
    agents.attach(c)
    monitor.listen(c)
    listener.bind(c)
    services = [
        Before("taking the state directory", lambda: _take_directory(c)),
        Before("starting HTTP", lambda: _serve_http(c)),
        Background("the monitor", lambda: monitor.watch(c)),
        Before("loading the model", lambda: _load_model(c)),
        Before("checking the topics", lambda: _check_topics(c)),
        Before("asking how large messages may be", lambda: _read_limits(c)),
        app.delivery,
        Background("reading the products topic", lambda: _follow_catalogue(c)),
        Background("reading the popularity topic", lambda: popularity.follow(c)),
        Background("publishing popularity", lambda: popularity.publish(c)),
        Background("watching the topics", lambda: topic_watch.watch(c)),
        Background("watching the topics' ends", lambda: monitor.ask_for_ends(c)),
    ]
    app.start_before_kafka(services)
    return app


def run(settings: Settings) -> None:
    """Run the worker in this process until it is stopped; ends the process."""
    logs.configure(settings.log)
    runtime.run(create_app(settings))


def __getattr__(name: str) -> Any:
    """Make `app` when it is asked for: importing this module reads no settings."""
    if name == "app":
        settings = load()
        logs.configure(settings.log)
        return create_app(settings)
    raise AttributeError(name)


async def _take_directory(c: Components) -> None:
    state_directory.lock(c.settings.state.directory, c.app.conf.tabledir)


async def _serve_http(c: Components) -> None:
    chosen = c.settings.http
    c.metrics.ready.set_function(lambda: float(health.ready(c.health, monotonic())[0]))
    server = http.start(chosen.host, chosen.port, metrics.renderer(c.metrics), c.health)
    log.info("serving metrics and health", host=chosen.host, port=server.port)


async def _load_model(c: Components) -> None:
    settings = c.settings
    chosen = settings.recommendations
    rules = shop_rules.of(**{name: getattr(chosen, name) for name in shop_rules.settings()})

    def tell(doing: str) -> None:
        c.health.starting = doing

    tell("compiling the loop that places shoppers")
    await c.model.run(placement.warm_up)
    c.loaded = await c.model.run(recommender.load, settings.model, chosen.k, rules, tell)
    name, release, sha256 = (c.loaded.model[part] for part in ("name", "version", "sha256"))
    c.metrics.build.info(
        {
            "version": version("pprm-worker"),
            "model": name,
            "model_version": release,
            "model_sha256": sha256,
        }
    )
    c.metrics.model_last_update_timestamp_seconds.set(time())
    log.info(
        "model loaded",
        model=name,
        version=release,
        sha256=sha256,
        device=str(c.loaded.scorer.device),
    )


async def _check_topics(c: Components) -> None:
    client = c.app.kafka_client_settings
    c.health.starting = "waiting for the broker and its topics"
    await topics.wait_for_broker(client)
    await topics.require_allowed(client, c.settings)
    await topic_watch.wait_for_all(c)
    topics.require_equal({name: c.topics[name].partitions for name in topic_watch.cut_alike(c)})
    c.partitions = c.topics[c.settings.changelog].partitions
    c.app.found_partitions(c.partitions)
    topic_watch.count_partitions(c)
    c.health.starting = None


async def _read_limits(c: Components) -> None:
    c.app.delivery.limits = await message_limits.read(c.app.kafka_client_settings, c.settings)


async def _follow_catalogue(c: Components) -> None:
    available = 0

    def decoder() -> Decode:
        newest = Newest()

        def decode(record: Record) -> Change | None:
            change = _product_change(c, record)
            return (
                change
                if change and newest.is_newest(change[0], change[1] is None, record, time())
                else None
            )

        return decode

    async def apply(changes: Changes, count: int) -> int:
        nonlocal available
        await c.encode(c.recommender.texts(changes))
        available, known = await c.model.run(lambda: c.recommender.change(changes))
        c.metrics.catalogue_products.labels("available").set(available)
        c.metrics.catalogue_products.labels("known").set(known)
        c.metrics.catalogue_records.inc(count)
        _count_available(c, available)
        return known

    async def read(products: set[str]) -> None:
        """What is known and not in the topic was in one of the same name, which was deleted."""
        known = await c.model.run(lambda: list(c.recommender.catalogue.ids))
        if gone := [product_id for product_id in known if product_id not in products]:
            await apply(dict.fromkeys(gone), 0)
        log.info("catalogue read", products=len(products), available=available)
        c.metrics.catalogue_products.labels("available").set(available)
        c.health.catalogue_read = True
        c.catalogue_read.set()
        _count_available(c, available)

    await catalogue.follow(
        c.app.kafka_client_settings, c.settings.topics.name("products"), decoder, apply, read
    )


def _product_change(c: Components, record: Record) -> Change | None:
    """What a record of the products topic says, None where it is not valid."""
    said = codec.decode_product(record, c.recommender.catalogue.dimensions)
    if not isinstance(said, codec.Invalid):
        return said
    if c.settings.products.on_invalid == "withdraw" and (product_id := codec.readable_key(record)):
        return product_id, None
    c.health.unread_products += 1
    c.health.unread_because = f"{said.reason}: {said.detail}"
    if said.reason == "vector":  # of another model than ours: our agent may have passed it long ago
        log.warning("a product was passed over", key=codec.readable_key(record), detail=said.detail)
    return None


def _count_available(c: Components, available: int) -> None:
    """Answer events while so many products are available: while there is none they wait."""
    c.health.nothing_to_recommend = not (available or c.settings.recommendations.empty_catalogue)
    if c.health.nothing_to_recommend and c.may_answer.is_set():
        log.warning("no product is available any more: events wait in Kafka until one is")
    answer_or_wait(c)
