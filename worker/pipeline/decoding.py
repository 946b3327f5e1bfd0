"""The first step of a micro-batch: bytes to events, each to its shopper."""

from collections import defaultdict
from collections.abc import Mapping
from time import time

from pprm.core.events import SOURCES
from worker.kafka.batches import Record
from worker.ops.metrics import Metrics
from worker.pipeline import codec, rekeying
from worker.pipeline.codec import Invalid
from worker.pipeline.model import Model
from worker.pipeline.ownership import Ownership
from worker.pipeline.rekeying import Origin
from worker.pipeline.routing import Read, Router
from worker.pipeline.work import Work
from worker.runtime.stream import MicroBatch


class Decoder:
    """Reads the records of a micro-batch, by what their topics hold."""

    def __init__(
        self,
        families: Mapping[str, str],
        ownership: Ownership,
        model: Model,
        router: Router,
        metrics: Metrics,
    ) -> None:
        """`families` are those of the input topics, by topic."""
        self._families, self._ownership, self._model = families, ownership, model
        self._router, self._metrics = router, metrics

    def decode(self, batch: MicroBatch) -> Work:
        """Group records by shopper.

        A record that cannot be decoded keeps its place as a refusal.
        """
        work, now = Work(), time()
        # Topics in the order of their families, whatever they are called: a replay folds in the
        # same order.
        for (topic, partition), records in sorted(
            batch.records.items(), key=lambda i: (self._families[i[0][0]], i[0][1])
        ):
            family, mended = self._families[topic], defaultdict[str, int](int)
            if family == rekeying.FAMILY:
                self.decode_rekeyed(work, partition, records, now, mended)
            elif family == "products":
                self._decode_products(work, topic, partition, records, mended)
            else:
                origin = Origin(topic, self._ownership.log_of(topic, partition))
                decoded = codec.decode_all(family, records, now, mended, origin.log)
                self._router.route(work, partition, Read(origin, True, records, decoded))
            self._metrics.events_consumed.labels(topic).inc(len(records))
            for what, count in mended.items():
                self._metrics.events_mended.labels(topic, what).inc(count)
        return work

    def decode_rekeyed(
        self,
        work: Work,
        partition: int,
        records: list[Record],
        now: float,
        mended: codec.Mended,
    ) -> None:
        """Records that another partition's worker has sent here, as what they were."""
        user_keyed = {topic for topic, family in self._families.items() if family in SOURCES}
        found, refused = rekeying.originals(records, user_keyed)
        work.refuse(partition, refused)
        for origin, originals in found.items():
            family = self._families[origin.topic]
            decoded = codec.decode_all(family, originals, now, mended, origin.log)
            moved = [rekeying.from_elsewhere(event) for event in decoded]
            self._router.route(work, partition, Read(origin, False, originals, moved))

    def _decode_products(
        self,
        work: Work,
        topic: str,
        partition: int,
        records: list[Record],
        mended: codec.Mended,
    ) -> None:
        """Refuse what is not valid: the catalogue reads the others by itself."""
        dimensions = self._model.recommender.catalogue.dimensions
        decoded = ((record, codec.decode_product(record, dimensions, mended)) for record in records)
        work.refuse(
            partition,
            ((record, product) for record, product in decoded if isinstance(product, Invalid)),
        )
        self._router.count_misplaced_products(topic, partition, records)
