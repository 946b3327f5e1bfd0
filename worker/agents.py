"""The story of the worker: the way of a micro-batch from bytes to published lists.

decode ─ fold into the shoppers' states ─ score ─ publish, await every acknowledgement ─ store. If a rebalance takes the
partitions away in between, nothing more of the batch is written; if anything else goes wrong, the process ends and the
batch is read again.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

from pprm import user_state
from pprm.events import Interaction, Profile
from pprm.fold import Folded, fold
from pprm.user_state import UserState
from worker import codec
from worker.codec import Answer, Decoded, Invalid
from worker.components import Components
from worker.fatal import exit_now
from worker.recommender import Ranked, Request
from worker.runtime.delivery import Row, acknowledged, send_rows
from worker.runtime.stream import LedgerStream, MicroBatch


@dataclass(slots=True)
class Shopper:
    """One user-keyed shopper of a batch: what came, what became of the state, what is recommended."""

    partition: int
    key: bytes
    received: list[tuple[Any, Decoded]] = field(default_factory=list)
    """Records with what they say, in the order they are folded."""
    folded: Folded | None = None
    ranked: Ranked | None = None
    value: bytes = b""
    """The state after the batch, as stored."""

    @property
    def state(self) -> UserState:
        """The state after the batch."""
        assert self.folded
        return self.folded.state

    @property
    def newest(self) -> int:
        """Event time of the newest of the events, Unix seconds."""
        return max(decoded.event.time for _, decoded in self.received)

    @property
    def forgotten(self) -> bool:
        """The last word on this shopper was to forget."""
        event = self.received[-1][1].event
        return isinstance(event, Profile) and event.text is None


@dataclass(slots=True)
class Work:
    """A decoded micro-batch."""

    shoppers: dict[tuple[int, bytes], Shopper] = field(default_factory=dict)
    refused: list[tuple[Any, Invalid]] = field(default_factory=list)


def attach(c: Components) -> None:
    """Register the one agent that reads all topics: two agents that write the same table would race."""

    async def interactions(stream: LedgerStream) -> None:
        await c.catalogue_read.wait()
        async for batch in stream.micro_batches(lambda topic: c.metrics.offset_gaps.labels(topic).inc()):
            try:
                await answer(c, batch)
            except Exception as error:
                exit_now("a micro-batch failed: nothing of it is committed, it will be read again", error)

    c.app.agent(c.source, name="interactions")(interactions)


async def answer(c: Components, batch: MicroBatch) -> None:
    """Take a micro-batch all the way; return early, with nothing written locally, where it is no longer ours."""
    c.metrics.queue_wait_seconds.observe(monotonic() - batch.arrived)
    with _stage(c, "decode"):
        work = decode(c, batch)
    shoppers = list(work.shoppers.values())
    with _stage(c, "fold"):
        fold_batch(c, shoppers)
    with _stage(c, "score"):
        await score(c, shoppers)
    if c.epoch != batch.epoch:
        return
    with _stage(c, "publish"):
        changelog_offsets = await publish(c, work)
    if c.epoch != batch.epoch:
        return
    with _stage(c, "store"):
        store(c, shoppers, changelog_offsets)
    _measure(c, work)


@contextmanager
def _stage(c: Components, name: str) -> Iterator[None]:
    started = monotonic()
    yield
    c.metrics.stage_duration_seconds.labels(name).observe(monotonic() - started)


def decode(c: Components, batch: MicroBatch) -> Work:
    """Records to shoppers with their events; what cannot be decoded keeps its place as a refusal."""
    work, now = Work(), time()
    # Topics in the order of their families, whatever they are called: a replay folds in the same order.
    for (topic, partition), records in sorted(batch.records.items(), key=lambda i: (c.families[i[0][0]], i[0][1])):
        family = c.families[topic]
        for record in records:
            said = codec.decode_product(record) if family == "products" else codec.decode(family, record, now)
            if isinstance(said, Invalid):
                work.refused.append((record, said))
            elif isinstance(said, Decoded):
                shopper = work.shoppers.setdefault((partition, record.key), Shopper(partition, record.key))
                shopper.received.append((record, said))
        c.metrics.events_consumed.labels(topic).inc(len(records))
    return work


def fold_batch(c: Components, shoppers: Iterable[Shopper]) -> None:
    """One multi-get per partition, then every shopper's events into the state."""
    by_partition: dict[int, list[Shopper]] = {}
    for shopper in shoppers:
        by_partition.setdefault(shopper.partition, []).append(shopper)
    for partition, group in by_partition.items():
        values = c.table.get_many(partition, [shopper.key for shopper in group])
        for shopper, value in zip(group, values, strict=True):
            state = user_state.decode(value)
            shopper.folded = fold(state, [decoded.event for _, decoded in shopper.received])


async def score(c: Components, shoppers: list[Shopper]) -> None:
    """Count what was bought, then rank the catalogue once for every shopper with an event to be answered."""
    counted: list[Interaction] = [event for shopper in shoppers if shopper.folded for event in shopper.folded.counted]
    answered = [shopper for shopper in shoppers if not shopper.forgotten and c.is_live(shopper.newest)]
    requests = [Request(shopper.state, shopper.state.active_at) for shopper in answered]
    await c.encode(shopper.state.text.decode() for shopper in answered)
    ranked = await c.model.run(lambda: c.recommender.answer(counted, requests))
    for shopper, ranking in zip(answered, ranked, strict=True):
        shopper.ranked = ranking
        assert shopper.folded
        shopper.folded = shopper.folded._replace(state=user_state.publish(shopper.state, ranking.hashes))
    c.metrics.batch_users.observe(len(answered))


async def publish(c: Components, work: Work) -> dict[int, int]:
    """Send states, lists and dead letters, await all; returns each partition's last changelog offset."""
    states: dict[int, list[Row]] = {}
    lists: dict[int, list[Row]] = {}
    letters: dict[int, list[Row]] = {}
    for shopper in work.shoppers.values():
        shopper.value = user_state.encode(shopper.state)
        states.setdefault(shopper.partition, []).append(Row(shopper.key, shopper.value))
        if (row := _list_row(c, shopper)) is not None:
            lists.setdefault(shopper.partition, []).append(row)
    for record, invalid in work.refused:
        row = Row(*codec.dead_letter(record, invalid))
        letters.setdefault(record.partition % c.dead_letter_partitions, []).append(row)

    changelog = {p: await send_rows(c.producer, c.table.changelog_topic_name, p, rows) for p, rows in states.items()}
    others = [
        await send_rows(c.producer, c.settings.topics.name("recommendations"), p, rows) for p, rows in lists.items()
    ]
    others += [
        await send_rows(c.producer, c.settings.topics.name("dead_letters"), p, rows) for p, rows in letters.items()
    ]
    offsets = await asyncio.gather(*map(acknowledged, changelog.values()), *map(acknowledged, others))
    return {partition: acks[-1] for partition, acks in zip(changelog, offsets, strict=False)}


def _list_row(c: Components, shopper: Shopper) -> Row | None:
    record, decoded = shopper.received[-1]
    if shopper.forgotten:
        return Row(shopper.key, None)
    if shopper.ranked is None:
        return None
    answer = Answer(decoded.user_id, decoded.event_id, record, c.recommender.model, shopper.ranked.items)
    return Row(*codec.encode_recommendation(answer, datetime.now(UTC)))


def store(c: Components, shoppers: Iterable[Shopper], changelog_offsets: dict[int, int]) -> None:
    """One RocksDB WriteBatch per partition, with the changelog offset that covers it."""
    values: dict[int, dict[bytes, bytes | None]] = {}
    for shopper in shoppers:
        values.setdefault(shopper.partition, {})[shopper.key] = shopper.value
    for partition, updates in values.items():
        c.table.write(partition, updates, changelog_offsets[partition])


def _measure(c: Components, work: Work) -> None:
    metrics, now = c.metrics, time()
    metrics.batch_size.observe(len(work.refused) + sum(len(s.received) for s in work.shoppers.values()))
    for shopper in work.shoppers.values():
        assert shopper.folded
        metrics.state_evictions.inc(shopper.folded.evicted)
        last, decoded = shopper.received[-1]
        metrics.event_time_lag_seconds.labels(last.topic).set(now - decoded.event.time)
        if shopper.folded.repeats:
            metrics.events_repeated.labels(last.topic).inc(shopper.folded.repeats)
        if shopper.ranked:
            metrics.recommendations_sent.inc()
            metrics.end_to_end_latency_seconds.observe(max(now - last.timestamp / 1000, 0.0))
    for record, invalid in work.refused:
        metrics.events_invalid.labels(record.topic, invalid.reason).inc()
        metrics.dead_letters_sent.inc()
