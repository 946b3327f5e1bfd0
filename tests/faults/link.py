"""A link to a broker that can be made slow.

A TCP proxy, and a broker that sends its clients through it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.brokers import ApacheKafka
from worker.kafka import embedded


@dataclass
class Link:
    """A TCP proxy in front of a broker.

    What a connection sends can be made slow, and overtaken by another's.
    """

    port: int
    bytes_per_second: float = 0.0
    """Of each connection, towards the broker; 0 is as fast as it goes."""
    server: "asyncio.Server | None" = None
    pipes: set["asyncio.Task[None]"] = field(default_factory=set)

    async def open(self, broker_port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection("127.0.0.1", broker_port)
            except OSError:
                writer.close()
                return
            for source, target, slow in ((reader, back, True), (there, writer, False)):
                task = asyncio.create_task(self._pipe(source, target, slow))
                self.pipes.add(task)
                task.add_done_callback(self.pipes.discard)

        self.server = await asyncio.start_server(serve, "127.0.0.1", self.port)

    async def _pipe(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, slow: bool
    ) -> None:
        try:
            while data := await source.read(1 << 14):
                if slow and self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                target.write(data)
                await target.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            target.close()

    async def close(self) -> None:
        assert self.server
        self.server.close()
        for task in list(self.pipes):
            task.cancel()
        await asyncio.gather(*self.pipes, return_exceptions=True)
        await asyncio.sleep(0.1)  # a transport closes in the loop's next turns


@contextmanager
def broker_behind(kind: str, directory: Path, address: str) -> Iterator[int]:
    """A broker that tells its clients another address, and the port on which it listens."""
    if kind == "embedded":
        with embedded.broker(advertised=address) as own:
            yield int(own.split(":")[1])
        return
    kafka = ApacheKafka(
        directory, embedded.free_port(2), [f"advertised.listeners=PLAINTEXT://{address}"]
    )
    try:
        kafka.start()
        yield kafka.port
    finally:
        kafka.stop()
