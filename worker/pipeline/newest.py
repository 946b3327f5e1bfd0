"""Which record of a product is its newest, when its records lie in more than one partition.

Within a partition it is the later one in the log. Between two, only the records' times can say: a
shop that withdraws with another client than it publishes with has both in the log, and a reader
meets them in any order.
"""

from worker.kafka.batches import Record
from worker.pipeline.codec import record_time

KEPT_SECONDS = 86_400
"""Time for which withdrawals are remembered, as by compaction (Kafka's `delete.retention.ms`)."""
FIRST_SWEEP = 10_000
_PARTITION_BITS, _WITHDRAWN = 16, 1 << 16


class Newest:
    """The rank of each product's newest record.

    It is made of the record's time (Unix milliseconds), whether it withdraws, and its partition.

    In this order, in one number. Of two of one time a withdrawal wins: it recommends nothing that
    the shop may not have; then the higher partition, so that all workers agree.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}
        self._sweep_at = FIRST_SWEEP

    def is_newest(self, product_id: str, withdrawn: bool, record: Record, now: float) -> bool:
        """Whether no newer record of the product is known, and remember this one if so.

        `now` is Unix seconds.
        """
        rank = (
            _time(record, now) << _PARTITION_BITS + 1
            | withdrawn << _PARTITION_BITS
            | record.partition
        )
        held = self._ranks.get(product_id)
        if held is not None and held > rank and (held ^ rank) % _WITHDRAWN:
            return False
        self._ranks[product_id] = rank
        if len(self._ranks) > self._sweep_at:
            self._sweep(now)
        return True

    def _sweep(self, now: float) -> None:
        """Forget withdrawals of long ago.

        A catalogue that comes and goes must not grow for ever.
        """
        since = int((now - KEPT_SECONDS) * 1000) << _PARTITION_BITS + 1
        self._ranks = {
            name: rank
            for name, rank in self._ranks.items()
            if not rank & _WITHDRAWN or rank >= since
        }
        self._sweep_at = max(2 * len(self._ranks), FIRST_SWEEP)


def _time(record: Record, now: float) -> int:
    """Return the time of a record, or 0 where it has none that is possible.

    0 is older than any, so that it keeps nothing out.
    """
    return 0 if record_time(record, now) is None else record.timestamp
