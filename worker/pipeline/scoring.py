"""What a micro-batch asks of the model: the promotions of products, and the lists."""

from pprm.state import user_state
from worker.ops.metrics import Metrics
from worker.pipeline.model import Model
from worker.pipeline.past import Past
from worker.pipeline.recommender import Request
from worker.pipeline.work import Shopper


class Scoring:
    """Asks the model about the shoppers of a micro-batch."""

    def __init__(self, model: Model, past: Past, metrics: Metrics) -> None:
        """`past` says which events are answered with a list."""
        self._model, self._past, self._metrics = model, past, metrics

    async def promote(self, shoppers: list[Shopper]) -> None:
        """Give purchases the promotion that their product has.

        The fold keeps how a shopper takes to promotions.
        """
        recommender = self._model.recommender

        def look_up() -> None:
            if recommender.catalogue.promotions:
                for shopper in shoppers:
                    shopper.events = recommender.with_promotions(shopper.events)

        await self._model.run_short(look_up)

    async def score(self, shoppers: list[Shopper]) -> None:
        """Count purchases, then rank the catalogue for each shopper whose events are answered."""
        recommender = self._model.recommender
        counted = [
            (s.partition, purchase) for s in shoppers if s.folded for purchase in s.folded.counted
        ]
        answered = [s for s in shoppers if not s.forgotten and self._past.is_live(s.newest)]
        # an event that counts for nothing leaves no time in the state: it is answered as of its own
        requests = [Request(s.state, max(s.state.active_at, s.newest)) for s in answered]
        await self._model.encode(shopper.state.text.decode() for shopper in answered)
        ranked = await self._model.run(lambda: recommender.answer(counted, requests))
        self._metrics.scores_not_finite.inc(recommender.newly_not_finite())
        for shopper, ranking, request in zip(answered, ranked, requests, strict=True):
            shopper.ranked = ranking
            user_state.publish(shopper.state, ranking.hashes, request.now)
        self._metrics.batch_users.observe(len(answered))
