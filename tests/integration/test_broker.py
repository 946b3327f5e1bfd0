"""`pprm broker`: a broker to try things out with."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker.kafka.embedded import free_port


@contextmanager
def started(port: int) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "worker", "broker", "--port", str(port)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(20)
        assert running.stdout
        running.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_broker_runs_until_it_is_stopped_and_keeps_its_port_for_itself(number: int) -> None:
    port = free_port()
    with started(port) as broker:
        assert broker.stdout and f"127.0.0.1:{port}" in broker.stdout.readline()
        create = ["topics", "create", "--broker", f"127.0.0.1:{port}"]
        made = subprocess.run(
            [sys.executable, "-m", "worker", *create], capture_output=True, text=True, timeout=60
        )
        assert made.returncode == 0 and "created recommendations" in made.stdout, made.stderr
        with started(port) as second:
            assert second.wait(30) == 2 and second.stdout
            assert "choose another with --port" in second.stdout.read()
        broker.send_signal(number)
        assert broker.wait(20) == 0
    with started(port) as again:
        assert again.stdout and f"127.0.0.1:{port}" in again.stdout.readline()
