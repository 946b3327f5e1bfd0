"""GET /metrics, /live and /ready, from a thread with an event loop of its own.

A thread of its own because the worker's loop is what the probes ask about: were it blocked, it
could not say so.
"""

import asyncio
import atexit
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from threading import Thread
from time import monotonic
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from pprm.core.errors import Foreseen
from worker.ops.health import Health, live, ready

Render = Callable[[str], tuple[bytes, str]]
"""Accept header to exposition and content type: `worker.ops.metrics.renderer`."""

Question = Callable[[Health, float], tuple[bool, str]]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Pages = Mapping[str, Callable[[web.BaseRequest], web.Response]]

MAX_CONNECTIONS = 32
"""At a time: a Prometheus or two, probes, somebody who looks."""
CONNECTION_SECONDS = 10.0
"""From connecting until all of the answer is read; a connection has one request."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    """The port that is bound, also where 0 asked for any."""
    loop: asyncio.AbstractEventLoop
    stopped: asyncio.Event
    thread: Thread

    def stop(self) -> None:
        """Close the port and end the thread; harmless when it has ended."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopped.set)
            self.thread.join(timeout=5)


class PortError(Foreseen, OSError):
    """Host and port cannot be bound; the message names the settings to change."""


def start(host: str, port: int, render: Render, health: Health) -> Server:
    """Serve until `Server.stop`; returns when the port is bound.

    Raises:
        PortError: they cannot be bound.
    """
    bound: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = Thread(
        target=lambda: asyncio.run(_serve(host, port, pages_of(render, health), bound)),
        name="http",
        daemon=True,
    )
    thread.start()
    try:
        server = Server(*bound.result(), thread)
    except OSError as error:
        raise PortError(
            f"cannot serve HTTP on {host}:{port} ({error.strerror}); change http.host or http.port"
            " (PPRM_HTTP__HOST, PPRM_HTTP__PORT; port 0 takes any free one)",
        ) from error
    # a loop that runs while the interpreter goes away takes it down with signal 11
    atexit.register(server.stop)
    return server


async def _serve(
    host: str,
    port: int,
    pages: Pages,
    bound: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    runner, stopped = (
        web.ServerRunner(_Bounded(_answering(pages)), shutdown_timeout=1),
        asyncio.Event(),
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound.set_result((runner.addresses[0][1], asyncio.get_running_loop(), stopped))
        await stopped.wait()
    except OSError as error:
        bound.set_exception(error)
    finally:
        await runner.cleanup()


class _Connection(RequestHandler):
    """Logs our faults as errors, a client's at debug: anybody can send junk."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, or what we failed at."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        log.debug("what came is no request", error=type(exc).__name__)
        response = web.Response(status=status, text="this is no request")
        response.force_close()
        return response


class _Bounded(web.Server):
    """Serves at most `MAX_CONNECTIONS` at a time, each for `CONNECTION_SECONDS`.

    That bounds whoever sends half a request, a body without end, or does not read the answer:
    aiohttp waits for all of them. Where there are too many the oldest gives way: an honest one has
    its answer in milliseconds.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)
        self._open: dict[object, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def __call__(self) -> RequestHandler:
        """Make what talks to a client."""
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Count the connection; where there are too many, close the oldest."""
        super().connection_made(handler, transport)
        in_time = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, transport.abort)
        self._open[handler] = transport, in_time
        if len(self._open) > MAX_CONNECTIONS:
            self._forget(next(iter(self._open))).abort()

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """Count the connection no more."""
        if handler in self._open:
            self._forget(handler)
        super().connection_lost(handler, exc)

    def _forget(self, handler: object) -> asyncio.Transport:
        transport, in_time = self._open.pop(handler)
        in_time.cancel()
        return transport


def _answering(pages: Pages) -> Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        page = pages.get(request.path)
        if page is None:
            response = web.Response(status=404, text="here are " + ", ".join(pages))
        elif request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            response = web.Response(status=405, headers={hdrs.ALLOW: "GET, HEAD"})
        else:
            response = page(request)
        response.force_close()
        return response

    return handle


def pages_of(render: Render, health: Health) -> Pages:
    """All that is served, by its path."""
    return {
        "/metrics": partial(_metrics, render),
        "/live": partial(_probe, "live", live, health),
        "/ready": partial(_probe, "ready", ready, health),
    }


def _metrics(render: Render, request: web.BaseRequest) -> web.Response:
    body, content_type = render(",".join(request.headers.getall(hdrs.ACCEPT, [])))
    response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
    response.enable_compression()
    return response


def _probe(name: str, question: Question, health: Health, _: web.BaseRequest) -> web.Response:
    answer, reason = question(health, monotonic())
    return web.json_response({name: answer, "reason": reason}, status=200 if answer else 503)
