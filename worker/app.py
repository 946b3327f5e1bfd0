"""Composition: settings in, a Faust app with everything wired out. The one place where parts meet.

`faust -A worker.app worker` finds `app` here; `pprm worker` is the same with flags and a readable log.
"""

from time import monotonic, time
from typing import Any

import structlog

from worker import agents, catalogue, codec, health, http, metrics, topics
from worker.components import Components
from worker.health import Health
from worker.model_thread import ModelThread
from worker.monitor import watch
from worker.recommender import Recommender
from worker.runtime import app as runtime
from worker.runtime.services import Background, Before
from worker.settings import Settings, client_settings, load

TABLE = "user_state"
USER_KEYED = ("purchases", "browses", "reviews", "users")

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> runtime.RuntimeApp:
    """Wire a worker; nothing is contacted or loaded before it starts."""
    kafka = settings.kafka
    app = runtime.create(
        settings.app_id,
        client_settings(kafka),
        settings.state.directory,
        session_timeout=kafka.session_timeout_seconds,
        commit_interval=kafka.commit_interval_seconds,
    )
    families = {settings.topics.name(family): family for family in (*USER_KEYED, "products")}
    c = Components(
        settings=settings,
        app=app,
        source=runtime.source(app, list(families)),
        table=runtime.table(app, TABLE, settings.topics.partitions),
        families=families,
        model=ModelThread(),
        recommender=Recommender(settings.model, settings.recommendations.k),
        metrics=metrics.create(topics=list(families), reasons=codec.REASONS, tables=[TABLE]),
        health=Health(),
    )
    agents.attach(c)
    _listen_to_rebalances(c)
    app.services_before_kafka = [
        Before("starting HTTP", lambda: _serve_http(c)),
        Background("the monitor", lambda: watch(c)),
        Before("loading the model", lambda: _load_model(c)),
        Before("checking the topics", lambda: _check_topics(c)),
        Background("reading the products topic", lambda: _follow_catalogue(c)),
    ]
    return app


def __getattr__(name: str) -> Any:
    """Make `app` when it is asked for: importing this module reads no settings."""
    if name == "app":
        return create_app(load())
    raise AttributeError(name)


def run(settings: Settings) -> None:
    """Run the worker in this process until it is stopped; ends the process."""
    logs.configure(settings.log)
    runtime.run(create_app(settings))


async def _serve_http(c: Components) -> None:
    c.metrics.ready.set_function(lambda: float(health.ready(c.health, monotonic())[0]))
    server = http.start(c.settings.http.host, c.settings.http.port, metrics.renderer(c.metrics), c.health)
    log.info("serving metrics and health", host=c.settings.http.host, port=server.port)


async def _load_model(c: Components) -> None:
    info = await c.model.run(c.recommender.load)
    c.metrics.build.info({"version": version("pprm-worker"), "model": info.name, "model_sha256": info.sha256})
    c.metrics.model_last_update_timestamp_seconds.set(time())
    log.info("model loaded", model=info.name, version=info.version, sha256=info.sha256, device=c.recommender.device)
