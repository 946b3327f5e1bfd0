"""What is measured of a micro-batch: the time of its stages, and what became of its records."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, time

from pprm.core.events import SOURCES, topic_of
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.pipeline import codec
from worker.pipeline.past import Past
from worker.pipeline.work import Work
from worker.runtime.stream import MicroBatch
from worker.settings import Topics


class Measures:
    """Counts for the metrics, the health and the log."""

    def __init__(
        self, topics: Topics, changelog: str, metrics: Metrics, health: Health, past: Past
    ) -> None:
        """`changelog` is the topic that damaged states are counted under."""
        self._topics, self._changelog = topics, changelog
        self._metrics, self._health, self._past = metrics, health, past

    def began(self, batch: MicroBatch) -> None:
        """Measure how long the first record has waited."""
        self._metrics.queue_wait_seconds.observe(monotonic() - batch.arrived)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage."""
        started = monotonic()
        self._health.enter(name, started)
        try:
            yield
        finally:
            self._health.leave(name)
        self._metrics.stage_duration_seconds.labels(name).observe(monotonic() - started)

    def stored(self, work: Work) -> None:
        """Count what is published and stored."""
        self._count_lists(work)
        if not work.is_turn:
            self._count(work)
            self._count_past(work)

    def _count_lists(self, work: Work) -> None:
        made = [shopper for shopper in work.shoppers if shopper.ranked]
        sent = Counter(shopper.trigger.kind for shopper in made if shopper.is_sent)
        for cause, count in sent.items():
            self._metrics.recommendations_sent.labels(cause).inc(count)
        self._metrics.recommendations_unchanged.inc(len(made) - sent.total())

    def _count(self, work: Work) -> None:
        metrics, now, shoppers = self._metrics, time(), work.shoppers
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
                topic = self._topics.name(SOURCES[topic_of(source)])
                metrics.events_without_effect.labels(topic, why).inc()
            is_sent = shopper.ranked and shopper.is_sent
            if is_sent and (sent := codec.record_time(last, now)) is not None:
                metrics.end_to_end_latency_seconds.observe(max(now - sent, 0.0))
            if shopper.damaged is not None:
                metrics.events_invalid.labels(self._changelog, "state").inc()
        for topic, at in newest.items():
            metrics.event_time_lag_seconds.labels(topic).set(now - at)
        for _, record, invalid in work.refused:
            metrics.events_invalid.labels(record.topic, invalid.reason).inc()
        damaged = sum(s.damaged is not None for s in shoppers)
        metrics.dead_letters_sent.inc(len(work.refused) + damaged)

    def _count_past(self, work: Work) -> None:
        past = self._past
        if past.score_from:
            times = (event.time for shopper in work.shoppers for event in shopper.events)
            new_states = sum(
                shopper.is_new and not past.is_live(shopper.newest) for shopper in work.shoppers
            )
            past.fold(sum(not past.is_live(time) for time in times), new_states, monotonic())
