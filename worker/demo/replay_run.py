"""The second act of the demo.

In the time that no model has learned from, each basket is judged by the list before it.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from pprm.data import plan
from pprm.evaluation import protocol
from pprm.evaluation.baselines import top_frequency
from worker.demo import households, prequential, wire_rows
from worker.demo.announcements import Announcer
from worker.demo.context import DemoContext
from worker.demo.data import Shop
from worker.demo.demo_progress import DemoProgress
from worker.demo.households import DemoVisit
from worker.demo.lists import RecordPlace
from worker.demo.prequential import Baselines
from worker.demo.replay import replay


async def replay_all(context: DemoContext, shop: Shop) -> None:
    """Replay what the options ask for."""
    progress, options = context.progress, context.options
    order = households.replay_order(shop.history, shop.begin, shop.end, shop.simulates)
    visits = households.cut(order, options.events)
    baselines = await asyncio.to_thread(_baselines, shop)
    judge = _Judge(progress, baselines)
    progress.planned = sum(len(visit.products) for visit in visits)
    progress.replay_began = perf_counter()
    try:
        announcer = Announcer(context, shop)
        await replay(
            visits, lambda visit: _answer(context, judge, visit), options.rate, announcer.announce
        )
    finally:
        progress.replay_ended = perf_counter()


def _baselines(shop: Shop) -> Baselines:
    """As strong as they can be: own frequencies as the time before the replay chose them."""
    data, available = (
        shop.dataset,
        np.array([product.available for product in shop.dataset.products]),
    )
    chosen_on = protocol.queries(data, available, {"validation": plan.of(data).validation})
    own = top_frequency.choose(data, available, chosen_on)
    baselines = prequential.baselines(shop.universe, shop.history, own)
    baselines.advance(shop.begin)
    return baselines


@dataclass(frozen=True, slots=True)
class _Judge:
    progress: DemoProgress
    baselines: Baselines

    def judge(self, visit: DemoVisit) -> None:
        """Compare a basket with the newest list.

        This is left out where browsing is simulated, or nothing could be listed.
        """
        if not visit.is_basket or (self.progress.simulates and households.browses(visit.household)):
            return
        truth = set(self.baselines.rows(visit.products).tolist())
        if truth:
            listed = self.baselines.rows(self.progress.lists.newest[visit.household].products)
            self.progress.scores.add(truth, listed, self.baselines.at(visit.household, visit.time))


async def _answer(context: DemoContext, judge: _Judge, visit: DemoVisit) -> None:
    """Judge a visit by the list before it, publish it, and wait for the list after it."""
    progress, topic = context.progress, context.topic(visit.family)
    before = progress.lists.newest[visit.household]
    judge.judge(visit)
    progress.date = visit.time
    rows = wire_rows.visit_rows(visit)
    progress.lists.sent(visit.household, perf_counter())
    ((partition, offset),) = (await context.publisher.send(topic, rows)).items()
    progress.events += len(rows)
    after = await progress.lists.answer(visit.household, RecordPlace(topic, partition, offset))
    progress.show(visit, before, after)
