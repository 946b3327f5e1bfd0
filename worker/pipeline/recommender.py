"""The model at work: catalogue, popularity and scorer together.

Every method runs in the one model thread.

Texts are encoded before, in a thread of their own (`worker.pipeline.model`): BERT takes
milliseconds a text, and seconds to load.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.events import Event
from pprm.core.ids import stable_hash
from pprm.encoders import product_vectors
from pprm.encoders.text_encoder import TextEncoder
from pprm.serving import artifact
from pprm.serving.rules import NO_RULES, Rules
from pprm.serving.scorer import Scorer, choose_device, use_threads, warm_up
from pprm.state.fold import Counted
from pprm.state.user_state import UserState
from worker.pipeline.catalogue import Changes
from worker.settings import Model


class Request(NamedTuple):
    """A shopper to rank the catalogue for."""

    state: UserState
    now: int
    """Unix seconds, event time."""


class Ranked(NamedTuple):
    """A shopper's list, best first."""

    hashes: list[int]
    items: list[tuple[str, float, list[str]]]
    """Product id, probability, reasons."""


@dataclass(slots=True)
class Recommender:
    """A loaded model and what it knows of products; make it with `load`."""

    scorer: Scorer
    encoder: TextEncoder
    model: Mapping[str, str]
    """name, version, sha256: what every list says of its origin."""
    k: int
    rules: Rules
    _reported: int = 0

    @property
    def catalogue(self) -> Catalogue:
        """The products known."""
        return self.scorer.catalogue

    @property
    def popularity(self) -> Popularity:
        """What was bought by all shoppers of this worker."""
        return self.scorer.popularity

    def newly_not_finite(self) -> int:
        """Scores that were no finite numbers since this was asked last."""
        before, self._reported = self._reported, self.scorer.not_finite
        return self._reported - before

    def change(self, changes: Changes) -> tuple[int, int]:
        """Apply product records whose texts are encoded.

        Returns how many products are available, and known.
        """
        catalogue = self.catalogue
        products = [product for product in changes.values() if product]
        if products:
            catalogue.put(
                products, product_vectors.vectors(products, catalogue.dimensions, self.encoder)
            )
        if withdrawn := [product_id for product_id, product in changes.items() if not product]:
            catalogue.withdraw(withdrawn)
        return int(catalogue.available.sum()), catalogue.known

    def available(self, product_ids: Iterable[str]) -> list[str]:
        """Those of these products that may be recommended."""
        names = list(product_ids)
        hashes = np.array([stable_hash(name) for name in names], np.uint64)
        rows = self.catalogue.rows(hashes).tolist()
        return [
            name
            for name, row in zip(names, rows, strict=True)
            if row >= 0 and self.catalogue.available[row]
        ]

    def texts(self, changes: Changes) -> list[str]:
        """What has to be encoded before `change`; may be called in any thread."""
        products = [product for product in changes.values() if product]
        return product_vectors.texts(products, self.catalogue.dimensions, self.encoder)

    def with_promotions(self, events: Iterable[Event]) -> list[Event]:
        """Purchases with the promotion that their product had."""
        return list(self.catalogue.with_promotions(events))

    def answer(
        self, bought: Iterable[tuple[int, Counted]], requests: Sequence[Request]
    ) -> list[Ranked]:
        """Count purchases, then rank the catalogue for every request."""
        by_partition: dict[int, list[Purchase]] = {}
        for partition, counted in bought:
            event = counted.event
            purchase = Purchase(event.product, event.time, counted.is_first, counted.times)
            by_partition.setdefault(partition, []).append(purchase)
        for partition, purchases in by_partition.items():
            self.popularity.add(purchases, partition)
        rankings = self.scorer.recommend(
            [r.state for r in requests], [r.now for r in requests], self.k, self.rules
        )
        # a backfill asks for no list: its days pass all the same
        self.popularity.advance(
            max((p.time for group in by_partition.values() for p in group), default=0)
        )
        ids, hashes = self.catalogue.ids, self.catalogue.hashes
        return [
            Ranked(
                hashes[ranking.rows].tolist(),
                [
                    (ids[row], score, why)
                    for row, score, why in zip(
                        ranking.rows.tolist(), ranking.scores.tolist(), ranking.reasons, strict=True
                    )
                ],
            )
            for ranking in rankings
        ]


def load(
    settings: Model,
    k: int,
    rules: Rules = NO_RULES,
    tell: Callable[[str], None] = lambda doing: None,
) -> Recommender:
    """Load the artifact and make an empty catalogue.

    `tell` gets what is being done, in this thread.

    Raises:
        pprm.serving.artifact.ArtifactError: it cannot be trusted.
        pprm.serving.scorer.DeviceError: the device wanted is not there.
    """
    tell("loading the model")
    use_threads(settings.threads)
    device = choose_device(settings.device)
    loaded = artifact.load(settings.directory)
    if settings.stages == 1:
        loaded = loaded.retrieval_alone()
    encoder = loaded.encoder(settings.encoder, device)
    popularity = Popularity()
    catalogue = Catalogue(loaded.model.config.vector_dimensions, popularity.knows)
    scorer = loaded.scorer(catalogue, popularity, encoder.encode, device)
    tell("compiling the model's loops")
    warm_up(scorer)
    model = {"name": loaded.name, "version": loaded.version, "sha256": loaded.sha256}
    return Recommender(scorer, encoder, model, k, rules)
