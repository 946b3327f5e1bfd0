"""What a micro-batch asks of the model: the promotions of products, and the lists."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pprm.core import events
from pprm.state import user_state
from worker.ops.metrics import Metrics
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.model import Model
from worker.pipeline.past import Past
from worker.pipeline.recommender import Ranked, Request
from worker.pipeline.work import Shopper, Work


class Scoring:
    """Asks the model about the shoppers of a micro-batch."""

    def __init__(
        self,
        model: Model,
        past: Past,
        lists: FreshLists,
        publish: Literal["always", "changed"],
        metrics: Metrics,
        *,
        are_known: bool,
    ) -> None:
        """`past` says which events are answered with a list, `publish` which lists are sent.

        `are_known`: a list and its state are written as one, so readers have those of states.
        """
        self._model, self._past, self._lists, self._metrics = model, past, lists, metrics
        self._sends_all, self._are_known = publish == "always", are_known

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
        answered = [shopper for shopper in shoppers if self._is_answered(shopper)]
        await self._model.encode(shopper.state.text.decode() for shopper in answered)

        def answer() -> None:
            self._rank(answered, shoppers)
            self._lists.note(shoppers)

        await self._model.run(answer)
        self._count(answered)

    def _is_answered(self, shopper: Shopper) -> bool:
        # A broker that was killed may give back offsets of long ago. What is read again then was
        # answered with the state that knows it, where both are written as one; else nobody knows.
        is_answered_already = self._are_known and shopper.is_repeat
        return not (shopper.forgotten or is_answered_already) and self._past.is_live(shopper.newest)

    async def refresh(self, work: Work) -> None:
        """Rank the catalogue for each shopper of a turn whose list is to be made again."""
        await self._model.encode(shopper.state.text.decode() for shopper in work.shoppers)

        def make_again() -> None:
            self._lists.choose(work)
            self._rank(work.shoppers, ())
            self._lists.note(work.shoppers)

        await self._model.run(make_again)
        self._count(work.shoppers)

    def _rank(self, answered: Sequence[Shopper], shoppers: Iterable[Shopper]) -> None:
        """Count the purchases of shoppers, and make the lists of those answered."""
        counted = [
            (s.partition, purchase) for s in shoppers if s.folded for purchase in s.folded.counted
        ]
        requests = [Request(shopper.state, _as_of(shopper)) for shopper in answered]
        ranked = self._model.recommender.answer(counted, requests)
        known = set() if self._sends_all else self._lists.known(answered)
        for shopper, ranking, request in zip(answered, ranked, requests, strict=True):
            is_same = self._take(shopper, ranking, request.now)
            shopper.is_sent = not (
                is_same and (shopper.partition, shopper.key) in known and not _must_be_sent(shopper)
            )

    def _take(self, shopper: Shopper, ranking: Ranked, now: int) -> bool:
        """Give the shopper the list; returns whether it is the one in force."""
        state, shopper.ranked = shopper.state, ranking
        before, listed_at = state.published, state.listed_at
        if shopper.unasked:
            user_state.publish_unasked(state, ranking.hashes, now)
        else:
            user_state.publish(state, ranking.hashes, now)
        if listed_at:
            self._metrics.list_age_seconds.observe(max(now - listed_at, 0))
        return bool(listed_at) and before == state.published

    def _count(self, answered: Sequence[Shopper]) -> None:
        self._metrics.scores_not_finite.inc(self._model.recommender.newly_not_finite())
        self._metrics.batch_users.observe(len(answered))


def _as_of(shopper: Shopper) -> int:
    """As of when a list is made, Unix seconds."""
    if shopper.unasked:
        return shopper.unasked.at
    # an event that counts for nothing leaves no time in the state: it is answered as of its own
    return max(shopper.state.active_at, shopper.newest)


def _must_be_sent(shopper: Shopper) -> bool:
    """Whether the list is wanted though it is as before, or may have been lost before."""
    assert shopper.folded
    return shopper.folded.repeats > 0 or (
        bool(shopper.events) and isinstance(shopper.events[-1], events.Request)
    )
