"""GET /metrics, /live and /ready, from a thread with an event loop of its own.

A thread of its own because the worker's loop is what the probes ask about: were it blocked, it could not say so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from time import monotonic

from aiohttp import hdrs, web

from worker.health import Health, live, ready

Render = Callable[[str], tuple[bytes, str]]
"""Accept header to exposition and content type: `worker.metrics.renderer`."""

Question = Callable[[Health, float], tuple[bool, str]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


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


def start(host: str, port: int, render: Render, health: Health) -> Server:
    """Serve until `Server.stop`; returns when the port is bound.

    Raises:
        OSError: Host and port cannot be bound; the message names the settings to change.
    """
    bound: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = Thread(
        target=lambda: asyncio.run(_serve(host, port, _app(render, health), bound)), name="http", daemon=True
    )
    thread.start()
    try:
        return Server(*bound.result(), thread)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot serve HTTP on {host}:{port} ({error.strerror}); change http.host or http.port"
            " (PPRM_HTTP__HOST, PPRM_HTTP__PORT; port 0 takes any free one)",
        ) from error


async def _serve(
    host: str, port: int, app: web.Application, bound: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    runner, stopped = web.AppRunner(app, access_log=None, shutdown_timeout=1), asyncio.Event()
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound.set_result((runner.addresses[0][1], asyncio.get_running_loop(), stopped))
        await stopped.wait()
    except OSError as error:
        bound.set_exception(error)
    finally:
        await runner.cleanup()


def _app(render: Render, health: Health) -> web.Application:
    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", _metrics(render)),
            web.get("/live", _probe("live", live, health)),
            web.get("/ready", _probe("ready", ready, health)),
        ]
    )
    return app


def _metrics(render: Render) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body, content_type = render(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        return response

    return handle


def _probe(name: str, question: Question, health: Health) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        answer, reason = question(health, monotonic())
        return web.json_response({name: answer, "reason": reason}, status=200 if answer else 503)

    return handle
