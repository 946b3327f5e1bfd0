"""Composition: settings in, a Faust app with everything wired out. The one place where parts meet.

`faust -A worker.app worker` finds `app` here; `pprm worker` is the same with flags.
"""

from collections.abc import Mapping
from importlib.metadata import version
from time import monotonic, time
from typing import Any

import structlog

from pprm.serving import rules as shop_rules
from schemas.dead_letters import REASONS
from schemas.families import READ
from schemas.recommendations import CAUSES
from worker.kafka import placement, topics
from worker.ops import http, logs, state_directory
from worker.ops.health import Health, ready
from worker.ops.metrics import Metrics, renderer
from worker.ops.metrics import create as create_metrics
from worker.pipeline import (
    catalogue,
    codec,
    message_limits,
    rebalances,
    recommender,
    rekeying,
    stream_time,
)
from worker.pipeline.decoding import Decoder
from worker.pipeline.folding import Folder
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.gate import Gate
from worker.pipeline.listener import Listener
from worker.pipeline.measures import Measures
from worker.pipeline.model import Model
from worker.pipeline.monitor import Monitor
from worker.pipeline.ownership import Ownership
from worker.pipeline.past import Past
from worker.pipeline.pipeline import Pipeline
from worker.pipeline.popularity import PopularityExchange
from worker.pipeline.products import ProductFeed
from worker.pipeline.publishing import Publisher
from worker.pipeline.refreshing import Refreshing
from worker.pipeline.routing import Router
from worker.pipeline.scoring import Scoring
from worker.pipeline.seen_topics import SeenTopics
from worker.pipeline.states import States
from worker.pipeline.topic_ends import TopicEnds
from worker.pipeline.topic_watch import TopicWatch
from worker.runtime import app as runtime
from worker.runtime.app import RuntimeApp, StateTable
from worker.runtime.delivery import AtLeastOnce, ExactlyOnce
from worker.runtime.services import Background, Before
from worker.settings import Http, Settings, client_settings, load

TABLE = "user_state"

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> RuntimeApp:
    """Wire a worker; nothing is contacted or loaded before it starts."""
    kafka, client, names = settings.kafka, client_settings(settings.kafka), settings.topics
    changelog, chosen = settings.changelog, settings.recommendations
    families = {names.name(family): family for family in READ}
    families[settings.rekeyed_topic] = rekeying.FAMILY
    keyed = frozenset(families) - {names.name("products")}

    # what several parts share
    metrics = create_metrics(list(families), REASONS, [TABLE], codec.MENDED, CAUSES)
    health = Health()
    gate = Gate(health, chosen.empty_catalogue)
    seen, past, model = SeenTopics(), Past(chosen.score_from), Model(health)
    time = stream_time.of(chosen.refresh_clock)
    are_known = settings.delivery == "exactly_once"
    lists = FreshLists(chosen, names, time, past, are_known=are_known)
    refreshing = Refreshing(chosen, gate, model, lists, metrics)

    # the runtime, its table, and what it knows of this worker's partitions
    delivery = _delivery(settings, client)
    listener = Listener(metrics, families, delivery)
    app = runtime.create(
        settings.app_id,
        client,
        settings.state.directory,
        table=StateTable(TABLE, names.partitions, settings.state.memory),
        keyed=keyed,
        listener=listener,
        delivery=delivery,
        accepts_lost_states=settings.state.accept_lost,
        session_timeout=kafka.session_timeout_seconds,
        commit_interval=kafka.commit_interval_seconds,
        instance_id=kafka.instance_id,
    )
    table, ownership = app.state_table, Ownership(app)

    # the way of a micro-batch
    states = States(changelog, keyed, table, delivery, ownership, client, metrics)
    listener.bind(states)
    popularity = PopularityExchange(
        topic=settings.popularity_topic,
        partitions=names.partitions,
        snapshot_seconds=settings.popularity.snapshot_seconds,
        client=client,
        table=table,
        model=model,
        lists=lists,
        ownership=ownership,
        gate=gate,
        metrics=metrics,
    )
    router = Router(names, settings.rekeyed_topic, ownership, seen, metrics)
    pipeline = Pipeline(
        batch_seconds=chosen.batch_seconds,
        gate=gate,
        ownership=ownership,
        decoder=Decoder(families, ownership, model, router, metrics),
        folder=Folder(families, table, ownership),
        scoring=Scoring(model, past, lists, chosen.publish, metrics, are_known=are_known),
        publisher=Publisher(names, changelog, families, delivery, ownership, seen, model),
        states=states,
        popularity=popularity,
        time=time,
        refreshing=refreshing,
        measures=Measures(names, changelog, metrics, health, past),
        health=health,
    )
    app.read(list(families), "interactions", pipeline.run)

    # what goes on beside it
    rebalances.listen(app, changelog, ownership, popularity, health, metrics)
    monitor = Monitor(app, table, settings.state.directory, model, refreshing, health, metrics)
    watch = TopicWatch(settings, app, seen, gate, health, metrics)
    ends = TopicEnds(app, changelog, ownership, states, seen, past, health)
    feed = ProductFeed(settings.products.on_invalid, model, lists, gate, health, metrics)
    products = names.name("products")
    services = [
        Before("taking the state directory", lambda: _take_directory(settings, app)),
        Before("starting HTTP", lambda: _serve_http(settings.http, health, metrics)),
        Background("the monitor", monitor.watch),
        Before("loading the model", lambda: _load_model(settings, model, health, metrics)),
        Before("checking the topics", lambda: _check_topics(settings, app, watch, seen, health)),
        Before("asking how large messages may be", lambda: _read_limits(settings, app)),
        delivery,
        Background(
            "reading the products topic",
            lambda: catalogue.follow(client, products, feed.decoder, feed.apply, feed.is_read),
        ),
        Background("reading the popularity topic", popularity.follow),
        Background("publishing popularity", popularity.publish),
        Background("watching the topics", watch.watch),
        Background("watching the topics' ends", ends.watch),
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


def _delivery(settings: Settings, client: Mapping[str, Any]) -> AtLeastOnce | ExactlyOnce:
    if settings.delivery == "exactly_once":
        return ExactlyOnce(client, settings.app_id)
    return AtLeastOnce(client)


async def _take_directory(settings: Settings, app: RuntimeApp) -> None:
    state_directory.lock(settings.state.directory, app.conf.tabledir)


async def _serve_http(chosen: Http, health: Health, metrics: Metrics) -> None:
    metrics.ready.set_function(lambda: float(ready(health, monotonic())[0]))
    server = http.start(chosen.host, chosen.port, renderer(metrics), health)
    log.info("serving metrics and health", host=chosen.host, port=server.port)


async def _load_model(settings: Settings, model: Model, health: Health, metrics: Metrics) -> None:
    chosen = settings.recommendations
    rules = shop_rules.of(**{name: getattr(chosen, name) for name in shop_rules.settings()})

    def tell(doing: str) -> None:
        health.starting = doing

    tell("compiling the loop that places shoppers")
    await model.run(placement.warm_up)
    loaded = await model.load(lambda: recommender.load(settings.model, chosen.k, rules, tell))
    name, release, sha256 = (loaded.model[part] for part in ("name", "version", "sha256"))
    metrics.build.info(
        {
            "version": version("pprm-worker"),
            "model": name,
            "model_version": release,
            "model_sha256": sha256,
        }
    )
    metrics.model_last_update_timestamp_seconds.set(time())
    device = str(loaded.scorer.device)
    log.info("model loaded", model=name, version=release, sha256=sha256, device=device)


async def _check_topics(
    settings: Settings, app: RuntimeApp, watch: TopicWatch, seen: SeenTopics, health: Health
) -> None:
    client = app.kafka_client_settings
    health.starting = "waiting for the broker and its topics"
    await topics.wait_for_broker(client)
    await topics.require_allowed(client, settings)
    await watch.wait_for_all()
    topics.require_equal({name: seen.partitions(name) for name in watch.cut_alike})
    app.found_partitions(seen.partitions(settings.changelog))
    health.starting = None


async def _read_limits(settings: Settings, app: RuntimeApp) -> None:
    app.delivery.limits = await message_limits.read(app.kafka_client_settings, settings)
