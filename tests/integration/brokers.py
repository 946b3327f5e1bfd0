"""Brokers to test on.

The embedded one, and Apache Kafka where PPRM_TEST_KAFKA names a folder with `run DIR PORT`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.kafka import embedded

KAFKA_START_SECONDS = 60
FULL = os.environ.get("PPRM_TEST_FAULTS") == "full"
"""The whole suite at its full size (`make test-faults`); otherwise the part of it that `make test`
has time for."""


def has_apache() -> bool:
    return bool(os.environ.get("PPRM_TEST_KAFKA"))


@contextmanager
def embedded_broker(_: Path) -> Iterator[str]:
    with embedded.broker() as address:
        yield address


@dataclass
class ApacheKafka:
    """A broker process with a log on disk: it can be killed and started again on the same port."""

    directory: Path
    port: int
    properties: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self.directory / "kafka.log"
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(Path(os.environ["PPRM_TEST_KAFKA"]) / "run"), str(self.directory / "data"),
                str(self.port),
                 *self.properties],
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        if not _started(log, self.process):
            self.start()

    def kill(self) -> None:
        """As a crash would: nothing is flushed."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def apache_kafka(directory: Path, properties: Sequence[str] = ()) -> Iterator[str]:
    # the next port is the controller's
    kafka = ApacheKafka(directory, embedded.free_port(2), properties)
    try:
        kafka.start()
        yield kafka.address
    finally:
        kafka.stop()


BROKERS = {"embedded": embedded_broker, "apache": apache_kafka}


BAD_CLUSTER_ID = "argument --cluster-id/-t: expected one argument"
"""A random id that begins with a hyphen: once in 64 times. Another try gets another one."""


def _started(log: Path, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the broker has started; False where it is to be tried again."""
    deadline = time.monotonic() + KAFKA_START_SECONDS
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        if "Kafka Server started" in said:
            return True
        if process.poll() is not None:
            assert BAD_CLUSTER_ID in said, said[-2000:]
            return False
        time.sleep(0.1)
    raise AssertionError(f"Apache Kafka did not start: {log.read_text(errors='replace')[-2000:]}")
