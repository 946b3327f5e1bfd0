"""The worker's process: nothing outlives the demo."""

import asyncio
import socket
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from worker import settings
from worker.demo import processes
from worker.demo.processes import WorkerError

SETTINGS = {"app_id": "x", "http": {"port": 9}, "kafka": {"bootstrap_servers": "h:1"}}
SLEEPS = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
]


def test_settings_become_environment_variables_that_are_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = processes.environment(SETTINGS)
    assert variables == {
        "PPRM_APP_ID": "x",
        "PPRM_HTTP__PORT": "9",
        "PPRM_KAFKA__BOOTSTRAP_SERVERS": "h:1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings.load() == settings.load(SETTINGS)


def test_the_worker_ends_with_the_context_also_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), processes.worker(SETTINGS, tmp_path / "log", SLEEPS) as worker:
        assert worker.process.poll() is None
        raise KeyError
    assert worker.process.returncode == -15


def test_a_worker_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    with processes.worker(SETTINGS, tmp_path / "log", DEAF) as worker:
        while not worker.last_lines():
            pass
    assert worker.process.returncode == -9


def test_a_worker_that_ends_is_told_with_its_last_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('cannot go on'); sys.exit(3)"]
    with (
        processes.worker(SETTINGS, tmp_path / "log", command) as worker,
        pytest.raises(WorkerError, match=r"code 3[\s\S]*cannot go on"),
    ):
        asyncio.run(processes.watch(worker))


def test_a_worker_that_is_never_ready_is_told(tmp_path: Path) -> None:
    with (
        processes.worker(SETTINGS, tmp_path / "log", SLEEPS) as worker,
        pytest.raises(WorkerError, match="not ready"),
    ):
        asyncio.run(processes.until_ready(worker, 0.1))


class Loading(BaseHTTPRequestHandler):
    """Not ready when it is asked first."""

    answers: ClassVar = iter([(503, b'{"reason": "compiling"}'), (200, b"{}")])

    def do_GET(self) -> None:
        code, body = (200, b"") if self.path == "/metrics" else next(self.answers)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_worker_waits_for_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        HTTPServer(("127.0.0.1", 0), Loading) as server,
        processes.worker(SETTINGS, tmp_path / "log", SLEEPS) as worker,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        here = replace(worker, url=f"http://127.0.0.1:{server.server_port}")
        asyncio.run(processes.until_ready(here, 10, told.append))
        server.shutdown()
    assert told == ["compiling"]


def test_another_port_is_taken_where_the_wanted_one_is_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert processes.free_port(taken) not in (0, taken)
    assert processes.free_port(taken) == taken


def test_seconds_since_start_count_from_the_start_of_the_process() -> None:
    first = processes.seconds_since_start()
    assert 0 < first < 24 * 3600
    assert processes.seconds_since_start() >= first
