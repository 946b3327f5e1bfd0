"""The way of a micro-batch from bytes to published lists.

decode ─ fold into the shoppers' states ─ score ─ encode ─ publish, await every acknowledgement ─
store.

While a batch is published and stored, the next one is made ready up to there, on states that are
not stored yet. If a rebalance takes the partitions away in between, nothing more of either is
written; if anything else goes wrong, the process ends and both are read again.
"""

from asyncio import Task, TaskGroup, sleep
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, time

from pprm.core.events import SOURCES, topic_of
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import StateError, UserState
from pprm.state.watermarks import NO_MARK
from worker.kafka.batches import Record
from worker.ops.fatal import exit_now
from worker.pipeline import codec, popularity, publishing, rekeying, routing
from worker.pipeline.codec import Invalid
from worker.pipeline.context import Components
from worker.pipeline.recommender import Request
from worker.pipeline.rekeying import Origin
from worker.pipeline.routing import Read
from worker.pipeline.work import Shopper, Values, Work
from worker.runtime import collector
from worker.runtime.changelog import Superseded
from worker.runtime.delivery import NotOurs
from worker.runtime.stream import LedgerStream, MicroBatch

TURNS = 5
"""Turns of the event loop until what a micro-batch writes is on its way (aiokafka takes 4).

The next batch would keep it waiting while it is decoded and folded.
"""


def attach(c: Components) -> None:
    """Register the one agent that reads all topics.

    Two agents that write the same table would race.
    """

    async def interactions(stream: LedgerStream) -> None:
        await c.may_answer.wait()
        collector.spare()
        c.health.agent_running = True
        try:
            await work_on(c, stream)
        except* Exception as errors:
            first = errors.exceptions[0]
            exit_now(
                "a micro-batch failed: nothing of it is committed, it will be read again", first
            )
        finally:
            c.health.agent_running = False

    c.app.read(list(c.families), "interactions", interactions)


async def work_on(c: Components, stream: LedgerStream) -> None:
    """Answer micro-batches in order, two at a time.

    One is made ready while the one before it is written.
    """
    seconds = c.settings.recommendations.batch_seconds
    async with TaskGroup() as writes:
        last: Task[None] | None = None
        epoch, unstored = -1, dict[int, dict[bytes, bytes]]()
        async for batch in stream.micro_batches(seconds, c.may_answer.wait):
            # what was counted of a batch that came to nothing is counted anew first
            if last and batch.epoch != epoch:
                await last
                unstored = {}
            work = await make_ready(c, batch, unstored)
            if last:
                await last
            last = writes.create_task(write(c, stream, batch, work))
            epoch, unstored = batch.epoch, work.values
            for _ in range(TURNS):
                await sleep(0)


async def make_ready(c: Components, batch: MicroBatch, unstored: Values) -> Work:
    """Do all of a micro-batch up to the rows to be written.

    `unstored` are states that are newer than the table's.
    """
    c.metrics.queue_wait_seconds.observe(monotonic() - batch.arrived)
    with _stage(c, "decode"):
        work = decode(c, batch)
    with _stage(c, "fold"):
        await promote(c, work.shoppers)
        fold_batch(c, work, unstored)
    with _stage(c, "score"):
        await score(c, work.shoppers)
    with _stage(c, "encode"):
        publishing.encode(c, work)
    return work


async def write(c: Components, stream: LedgerStream, batch: MicroBatch, work: Work) -> None:
    """Publish and store a micro-batch, unless it is no longer ours.

    Then nothing is written locally.
    """
    with stream.finishing(batch):
        async with c.writing:
            try:
                with _stage(c, "publish"):
                    appended = await publishing.publish(c, batch, work.rows)
                with _stage(c, "store"):
                    await publishing.store(c, batch, work.values, appended)
            except (NotOurs, Superseded):
                if c.epoch == batch.epoch:
                    raise
                await popularity.recount(c, c.owned)
                return
        _measure(c, work)
        _count_past(c, work)


@contextmanager
def _stage(c: Components, name: str) -> Iterator[None]:
    started = monotonic()
    c.health.enter(name, started)
    try:
        yield
    finally:
        c.health.leave(name)
    c.metrics.stage_duration_seconds.labels(name).observe(monotonic() - started)


def decode(c: Components, batch: MicroBatch) -> Work:
    """Group records by shopper.

    A record that cannot be decoded keeps its place as a refusal.
    """
    work, now, dimensions = Work(), time(), c.recommender.catalogue.dimensions
    # Topics in the order of their families, whatever they are called: a replay folds in the same
    # order.
    for (topic, partition), records in sorted(
        batch.records.items(), key=lambda i: (c.families[i[0][0]], i[0][1])
    ):
        family, mended = c.families[topic], defaultdict[str, int](int)
        if family == rekeying.FAMILY:
            route_rekeyed(c, work, partition, records, now, mended)
        elif family == "products":
            judged = (
                (record, codec.decode_product(record, dimensions, mended)) for record in records
            )
            work.refuse(
                partition, ((record, said) for record, said in judged if isinstance(said, Invalid))
            )
            routing.count_misplaced_products(c, topic, partition, records)
        else:
            origin = Origin(topic, c.log_of(topic, partition))
            said = codec.decode_all(family, records, now, mended, origin.log)
            routing.route(c, work, partition, Read(origin, True, records, said))
        c.metrics.events_consumed.labels(topic).inc(len(records))
        for what, count in mended.items():
            c.metrics.events_mended.labels(topic, what).inc(count)
    return work


def route_rekeyed(
    c: Components,
    work: Work,
    partition: int,
    records: list[Record],
    now: float,
    mended: codec.Mended,
) -> None:
    """Records that another partition's worker has sent here, as what they were."""
    user_keyed = {topic for topic, family in c.families.items() if family in SOURCES}
    found, refused = rekeying.originals(records, user_keyed)
    work.refuse(partition, refused)
    for origin, originals in found.items():
        answers = codec.decode_all(c.families[origin.topic], originals, now, mended, origin.log)
        read = Read(
            origin, False, originals, [rekeying.from_elsewhere(answer) for answer in answers]
        )
        routing.route(c, work, partition, read)


async def promote(c: Components, shoppers: list[Shopper]) -> None:
    """Give purchases the promotion that their product has.

    The fold keeps how a shopper takes to promotions.
    """

    def look_up() -> None:
        recommender = c.recommender
        if recommender.catalogue.promotions:
            for shopper in shoppers:
                shopper.events = recommender.with_promotions(shopper.events)

    await c.model.run_short(look_up)


def fold_batch(c: Components, work: Work, unstored: Values) -> None:
    """One multi-get per partition, then every shopper's events into the state."""
    for partition, shoppers in work.partitions.items():
        newer = unstored.get(partition, {})
        stored = iter(c.table.get_many(partition, [key for key in shoppers if key not in newer]))
        for key, shopper in shoppers.items():
            value = newer[key] if key in newer else next(stored)
            shopper.is_new = value is None
            state = _read_state(c, shopper, value)
            shopper.listed = bool(state.published)
            shopper.folded = fold_into(state, shopper.events)


def _read_state(c: Components, shopper: Shopper, value: bytes | None) -> UserState:
    """Read the state held.

    A state that is damaged becomes a dead letter, and the shopper starts anew.
    """
    try:
        return user_state.decode(value)
    except StateError:
        shopper.damaged = value
    marks = {
        c.families[topic]: (partition, c.log_of(topic, partition), done - 1)
        for (topic, partition), done in c.app.consumer.ledger.positions().items()
        if partition == shopper.partition
    }
    return user_state.anew([marks.get(source, NO_MARK) for source in SOURCES])


async def score(c: Components, shoppers: list[Shopper]) -> None:
    """Count purchases, then rank the catalogue once per shopper with an event to be answered."""
    counted = [
        (s.partition, purchase) for s in shoppers if s.folded for purchase in s.folded.counted
    ]
    answered = [s for s in shoppers if not s.forgotten and c.is_live(s.newest)]
    # an event that counts for nothing leaves no time in the state, and is answered as of its own
    requests = [Request(s.state, max(s.state.active_at, s.newest)) for s in answered]
    await c.encode(shopper.state.text.decode() for shopper in answered)
    ranked = await c.model.run(lambda: c.recommender.answer(counted, requests))
    c.metrics.scores_not_finite.inc(c.recommender.newly_not_finite())
    for shopper, ranking, request in zip(answered, ranked, requests, strict=True):
        shopper.ranked = ranking
        user_state.publish(shopper.state, ranking.hashes, request.now)
    c.metrics.batch_users.observe(len(answered))


def _count_past(c: Components, work: Work) -> None:
    if c.settings.recommendations.score_from:
        times = (event.time for shopper in work.shoppers for event in shopper.events)
        new_states = sum(
            shopper.is_new and not c.is_live(shopper.newest) for shopper in work.shoppers
        )
        c.past.fold(sum(not c.is_live(time) for time in times), new_states, monotonic())


def _measure(c: Components, work: Work) -> None:
    metrics, now, shoppers = c.metrics, time(), work.shoppers
    metrics.batch_size.observe(len(work.refused) + sum(len(s.events) for s in shoppers))
    metrics.state_evictions.inc(sum(s.folded.evicted for s in shoppers if s.folded))
    newest: dict[str, int] = {}
    for shopper in shoppers:
        assert shopper.folded
        last, decoded = shopper.last
        newest[last.topic] = decoded.event.time
        if shopper.folded.repeats:
            metrics.events_repeated.labels(last.topic).inc(shopper.folded.repeats)
        for source, why in shopper.folded.without_effect:
            metrics.events_without_effect.labels(
                c.settings.topics.name(SOURCES[topic_of(source)]), why
            ).inc()
        if shopper.ranked and (sent := codec.record_time(last, now)) is not None:
            metrics.end_to_end_latency_seconds.observe(max(now - sent, 0.0))
        if shopper.damaged is not None:
            metrics.events_invalid.labels(c.settings.changelog, "state").inc()
    for topic, at in newest.items():
        metrics.event_time_lag_seconds.labels(topic).set(now - at)
    for _, record, invalid in work.refused:
        metrics.events_invalid.labels(record.topic, invalid.reason).inc()
    metrics.recommendations_sent.inc(sum(s.ranked is not None for s in shoppers))
    metrics.dead_letters_sent.inc(len(work.refused) + sum(s.damaged is not None for s in shoppers))
