import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from worker import http, metrics
from worker.health import Health


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[http.Server]:
    running = http.start("127.0.0.1", 0, metrics.renderer(metrics.create()), health)
    yield running
    running.stop()


def get(server: http.Server, path: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    try:
        with urlopen(
            Request(f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept}), timeout=5
        ) as response:
            return response.status, response.headers["Content-Type"], response.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def beat(health: Health) -> None:
    health.heartbeat, health.assigned, health.catalogue_read = time.monotonic(), True, True


def test_metrics_in_both_formats(server: http.Server) -> None:
    status, content_type, body = get(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert b"pprm_rebalances_total 0.0" in body
    assert get(server, "/metrics", "application/openmetrics-text; version=1.0.0")[1].startswith(
        "application/openmetrics-text"
    )


def test_probes_follow_the_health_record(server: http.Server, health: Health) -> None:
    status, _, body = get(server, "/ready")
    assert (status, json.loads(body)) == (503, {"ready": False, "reason": "starting"})
    assert get(server, "/live")[0] == 200
    beat(health)
    status, _, body = get(server, "/ready")
    assert (status, json.loads(body)) == (200, {"ready": True, "reason": "ok"})
    health.fatal = "store is broken"
    status, _, body = get(server, "/live")
    assert (status, json.loads(body)) == (503, {"live": False, "reason": "fatal error: store is broken"})


@pytest.mark.parametrize("path", ["/", "/table/user_state/u1/", "/metrics/", "/stats"])
def test_there_is_nothing_else(server: http.Server, path: str) -> None:
    assert get(server, path)[0] == 404


def test_answers_while_the_main_thread_is_busy(server: http.Server, health: Health) -> None:
    """The server asks nothing of the thread that started it: a blocked worker still says that it is blocked."""
    health.heartbeat = time.monotonic() - 60
    answers: list[int] = []
    asker = threading.Thread(target=lambda: answers.append(get(server, "/live")[0]))
    asker.start()
    asker.join(timeout=5)
    assert answers == [503]


def test_a_port_in_use_says_which_setting_to_change(server: http.Server, health: Health) -> None:
    with pytest.raises(OSError, match="PPRM_HTTP__PORT"):
        http.start("127.0.0.1", server.port, metrics.renderer(metrics.create()), health)


def test_a_foreign_host_says_which_setting_to_change(health: Health) -> None:
    with pytest.raises(OSError, match="PPRM_HTTP__HOST"):
        http.start("192.0.2.1", 0, metrics.renderer(metrics.create()), health)


def test_stop_frees_the_port_and_may_be_called_twice(health: Health) -> None:
    server = http.start("127.0.0.1", 0, metrics.renderer(metrics.create()), health)
    server.stop()
    server.stop()
    assert not server.thread.is_alive()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


def test_only_the_given_address_is_bound(server: http.Server) -> None:
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.port), timeout=1).close()
