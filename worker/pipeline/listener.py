"""The pipeline's side of the runtime: what it reports is counted, what it asks is answered."""

from collections.abc import Iterable, Mapping

from pprm.state import user_state
from worker.ops.metrics import Metrics
from worker.pipeline.states import States
from worker.pipeline.work import unit_of
from worker.runtime.delivery import Delivery
from worker.runtime.ledger import TopicPartition


class Listener:
    """The worker's `RuntimeListener`.

    There is a circle here: the runtime's app is made with its listener, the states are made with
    the app, and the listener has states appended again. `worker.app` makes them in this order, and
    closes the circle by `bind`, once, before the app is started.
    """

    def __init__(self, metrics: Metrics, families: Mapping[str, str], delivery: Delivery) -> None:
        """`families` are those of the input topics, by topic."""
        self._metrics, self._families, self._delivery = metrics, families, delivery
        self._states: States | None = None

    def bind(self, states: States) -> None:
        """Have these states appended again where somebody wrote over them."""
        self._states = states

    def on_commit(self, seconds: float) -> None:
        """Measure it."""
        self._metrics.commit_duration_seconds.observe(seconds)

    def on_gap(self, topic: str) -> None:
        """Count it."""
        self._metrics.offset_gaps.labels(topic).inc()

    def on_deleted(self, topic: str, count: int) -> None:
        """Count them."""
        self._metrics.events_deleted.labels(topic).inc(count)

    def on_other_log(self, topic: str) -> None:
        """Count it."""
        self._metrics.topics_replaced.labels(topic).inc()

    def on_quarantine(self) -> None:
        """Count it."""
        self._metrics.state_quarantines.inc()

    async def on_owned(self, assigned: Iterable[TopicPartition]) -> None:
        """Have the delivery take over what is written for these partitions of input topics."""
        units = {
            unit_of(self._families[topic], partition)
            for topic, partition in assigned
            if topic in self._families
        }
        await self._delivery.own(units)

    async def on_overwritten(self, partition: int, keys: Iterable[bytes]) -> None:
        """Append the states that the table holds."""
        assert self._states, "the listener is bound before the app is started"
        await self._states.append_again(partition, keys)

    def follows(self, value: bytes, held: bytes) -> bool:
        """See `pprm.state.user_state.follows`."""
        return user_state.follows(value, held)
