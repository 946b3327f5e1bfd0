"""Brokers to test on: the embedded one, and Apache Kafka where PPRM_TEST_KAFKA names a folder with `run DIR PORT`."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker import embedded

KAFKA_START_SECONDS = 60


@contextmanager
def embedded_broker(_: Path) -> Iterator[str]:
    with embedded.broker() as address:
        yield address


@contextmanager
def apache_kafka(directory: Path) -> Iterator[str]:
    address = f"127.0.0.1:{embedded.free_port(2)}"  # the next one is the controller's
    log = directory / "kafka.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(os.environ["PPRM_TEST_KAFKA"]) / "run"), str(directory / "data"), address.split(":")[1]],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(log, "Kafka Server started", process)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


BROKERS = {"embedded": embedded_broker, "apache": apache_kafka}


def _wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + KAFKA_START_SECONDS
    while time.monotonic() < deadline:
        if text in log.read_text(errors="replace"):
            return
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        time.sleep(0.1)
    raise AssertionError(f"Apache Kafka did not start: {log.read_text(errors='replace')[-2000:]}")
