import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from worker.ops import http, metrics
from worker.ops.health import Health


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
    assert (status, json.loads(body)) == (
        503,
        {"live": False, "reason": "fatal error: store is broken"},
    )


@pytest.mark.parametrize("path", ["/", "/table/user_state/u1/", "/metrics/", "/stats"])
def test_there_is_nothing_else(server: http.Server, path: str) -> None:
    assert get(server, path)[0] == 404


def test_only_reading_is_allowed(server: http.Server) -> None:
    request = Request(f"http://127.0.0.1:{server.port}/live", data=b"body", method="POST")
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=5)
    assert refused.value.code == 405
    refused.value.close()


HALF = {
    "nothing": b"",
    "half a header": b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Half: ",
    "half a body": b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{",
}


@pytest.fixture
def half_sent(server: http.Server) -> Iterator[Callable[[bytes], socket.socket]]:
    """Opens a connection and sends part of a request."""
    with ExitStack() as opened:

        def send(part: bytes) -> socket.socket:
            made = opened.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=5)
            )
            made.sendall(part)
            return made

        yield send


JUNK = {
    "half a POST": b"POST /live HTTP/1.1\r\nContent-Length: 100000\r\n\r\nab",
    "bytes": b"\x00\xff\xfe" * 1000 + b"\r\n\r\n",
    "a long header": b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: " + b"a" * 20_000 + b"\r\n\r\n",
    "no chunk": b"GET /ready HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("part", JUNK.values(), ids=JUNK)
def test_junk_gets_a_short_answer_and_no_error_in_the_log(
    server: http.Server,
    half_sent: Callable[[bytes], socket.socket],
    part: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection, answer = half_sent(part), b""
    while more := connection.recv(65_536):
        answer += more
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 405"))
    assert len(answer) < 300
    time.sleep(0.1)
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]
    assert not [record for record in caplog.records if record.exc_info]


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, once what it sent is read."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("part", HALF.values(), ids=HALF)
def test_half_a_request_is_not_waited_for(
    server: http.Server,
    half_sent: Callable[[bytes], socket.socket],
    part: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "CONNECTION_SECONDS", 0.2)
    assert is_closed(half_sent(part)) and get(server, "/live")[0] == 200


def test_who_does_not_read_the_answer_is_not_waited_for(
    server: http.Server,
    half_sent: Callable[[bytes], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "CONNECTION_SECONDS", 0.2)
    slow = half_sent(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
    time.sleep(0.5)
    assert is_closed(slow)


@pytest.mark.parametrize("part", HALF.values(), ids=HALF)
def test_of_too_many_connections_the_oldest_gives_way(
    server: http.Server, half_sent: Callable[[bytes], socket.socket], part: bytes
) -> None:
    connections = [half_sent(part) for _ in range(200)]
    assert get(server, "/live")[0] == 200
    assert all(is_closed(connection) for connection in connections[: -http.MAX_CONNECTIONS])


def test_answers_while_the_main_thread_is_busy(server: http.Server, health: Health) -> None:
    """The server asks nothing of the thread that started it.

    A blocked worker still says that it is blocked.
    """
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


def test_the_thread_ends_before_the_interpreter_does() -> None:
    """A loop that still runs when the interpreter ends kills the process with signal 11."""
    code = (
        "import atexit; from worker.ops import http; from worker.ops.health import Health\n"
        "atexit.register(lambda: print(server.thread.is_alive()))\n"
        "server = http.start('127.0.0.1', 0, lambda _: (b'', 'text/plain'), Health())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_only_the_given_address_is_bound(server: http.Server) -> None:
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.port), timeout=1).close()
