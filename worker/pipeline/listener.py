"""The pipeline's side of the runtime: what it tells is counted, what it asks is answered."""

from collections.abc import Iterable, Mapping

from pprm.state import user_state
from worker.ops.metrics import Metrics
from worker.pipeline import publishing
from worker.pipeline.context import Components
from worker.runtime.ledger import TopicPartition


class Listener:
    """The worker's `RuntimeListener`.

    The runtime needs it to be made, and it needs the runtime to write: so it is bound afterwards.
    """

    def __init__(self, metrics: Metrics, families: Mapping[str, str]) -> None:
        """`families` are those of the input topics, by topic."""
        self._metrics, self._families = metrics, families
        self._bound: Components | None = None

    def bind(self, components: Components) -> None:
        """Write with these from now on, before the app is started."""
        self._bound = components

    @property
    def _components(self) -> Components:
        assert self._bound, "the listener is bound before the app is started"
        return self._bound

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
        c = self._components
        units = {
            c.unit(self._families[topic], partition)
            for topic, partition in assigned
            if topic in self._families
        }
        await c.app.delivery.own(units)

    async def on_overwritten(self, partition: int, keys: Iterable[bytes]) -> None:
        """Append the states that the table holds."""
        await publishing.append_again(self._components, partition, keys)

    def follows(self, value: bytes, held: bytes) -> bool:
        """See `pprm.state.user_state.follows`."""
        return user_state.follows(value, held)
