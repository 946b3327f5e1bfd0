"""A worker that recommends the same to everybody, enough for the demo's shell.

`--die` ends it at the first list.
"""

import asyncio
import itertools
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.families import EVENTS
from worker.pipeline import codec
from worker.settings import client_settings, load

consumed = dict.fromkeys(EVENTS, 0)
asked = itertools.count(1)
"""As if so many million products were taken in between two questions."""
MODEL = {"name": "fake", "version": "1", "sha256": "0" * 64}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        prefix = load().topics.prefix
        lines = (
            f'pprm_events_consumed_total{{topic="{prefix}{name}"}} {n}.0\n'
            for name, n in consumed.items()
        )
        body = "".join(lines) + f"pprm_catalogue_records_total {next(asked)}e6\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


async def main() -> None:
    settings = load()
    client, name = client_settings(settings.kafka), settings.topics.name
    server = ThreadingHTTPServer(("127.0.0.1", settings.http.port), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    score_from = settings.recommendations.score_from
    assert score_from
    consumer = AIOKafkaConsumer(
        *map(name, consumed),
        name("users"),
        auto_offset_reset="earliest",
        fetch_max_wait_ms=10,
        **client,
    )
    producer = AIOKafkaProducer(**client)
    await consumer.start()
    await producer.start()
    print("fake worker started", flush=True)
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=100)).items():
            newest = {}
            for record in records:
                value = orjson.loads(record.value)
                if tp.topic != name("users"):
                    consumed[tp.topic.removeprefix(settings.topics.prefix)] += 1
                if value.get("occurred_at", value.get("updated_at")) >= score_from.strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                ):
                    newest[record.key] = (record, value)
            for record, value in newest.values():
                if "--die" in sys.argv:
                    sys.exit("no more lists from me")
                key, body, headers = codec.encode_recommendation(
                    answer(record, value), datetime.now(UTC)
                )
                await producer.send(
                    name("recommendations"), body, key=key, headers=headers, partition=tp.partition
                )


def answer(record: SimpleNamespace, value: dict[str, str]) -> codec.Answer:
    items = [(product, 0.5, ["popular"]) for product in ("1082185", "995242", "1029743", "981760")]
    event_id = value.get("event_id", "profile")
    trigger = codec.Trigger("event", record.topic, record.partition, record.offset, event_id)
    return codec.Answer(value["user_id"], record.offset, trigger, MODEL, items, record.headers)


asyncio.run(main())
