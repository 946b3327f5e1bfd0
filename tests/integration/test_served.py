"""Served is what was evaluated.

December streamed through a real worker, judged beside the offline evaluation.

The published lists and `AsServed` ("PPRM as served" of `pprm evaluate`) are judged by one protocol
on the same baskets: of a sample of households, on both sides alike, with promotions from November
on; of all households and with a year of promotions, some 40,000 lists, where PPRM_TEST_AGREEMENT is
`full`.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.catalogue.promotions import WEEK
from pprm.core.ids import stable_hash
from pprm.data import complete_journey
from pprm.data.complete_journey import PLAN as COMPLETE_JOURNEY
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation import protocol
from pprm.evaluation.contenders import AsServed
from pprm.serving import artifact
from pprm.serving.scorer import Scorer
from pprm.state.visit import SESSION
from pprm.training.train import make_catalogue
from schemas.families import EVENTS
from tests.integration.shop import Shop
from tests.unit.due_times import due, slot_of
from worker.demo import data, households, processes, scenario, wire_rows
from worker.demo.announcements import Announcer, publish_catalogue
from worker.demo.context import DemoContext, DemoOptions
from worker.demo.demo_progress import DemoProgress
from worker.demo.households import choose
from worker.demo.lists import Listed, RecordPlace
from worker.demo.replay import replay
from worker.kafka.topics import create, plan
from worker.settings import Model, client_settings, load

FULL = os.environ.get("PPRM_TEST_AGREEMENT") == "full"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(14_400 if FULL else 600)]

HOUSEHOLDS = None if FULL else 100
LIVE = COMPLETE_JOURNEY.chosen
"""From here on every basket is answered; the lists that December's baskets are judged by are of
November, too."""
DEPTH = 100
"""Length of the lists: without what a shopper had before, ten are left of them."""


def test_december_is_served_as_it_is_evaluated(shop: Shop) -> None:
    torch.set_num_threads(1)  # as `pprm evaluate`
    dataset = sample()
    lists = asyncio.run(streamed(shop, dataset, refresh_hours=0))
    scorer = scorer_of(dataset)
    catalogue, popularity = scorer.catalogue, scorer.popularity
    wanted = protocol.queries(dataset, catalogue.available, COMPLETE_JOURNEY.splits)
    offline = Kept(AsServed.of("evaluated", scorer, dataset, set(wanted)))
    online = Published(catalogue, dict(by_visit(dataset, lists)))
    outcome = protocol.run(
        dataset, catalogue, popularity, [offline, online], COMPLETE_JOURNEY.splits
    )

    judged = sorted(number for number, split in wanted.items() if split == "test")
    known = np.array([number in online.lists for number in judged])
    enough = np.array([online.fresh.get(number, 0) >= protocol.K for number in judged])
    assert known.mean() > 0.9, (
        "all but the households whose last basket before December was in October"
    )
    evaluated, served = (outcome.judged["test"][name] for name in ("evaluated", "served"))
    for part, comparable in (("all", known), ("new", known & enough)):
        mine, theirs = (np.array(getattr(one, part))[comparable, 0] for one in (evaluated, served))
        print(
            f"NDCG@10, {part}: evaluated {np.nanmean(mine):.4f}, served {np.nanmean(theirs):.4f}"
            f" ({np.isfinite(mine).sum()} of {len(judged)} baskets)"
        )
        assert abs(np.nanmean(mine - theirs)) < 1e-3 and np.nanmean(mine) > 0
    pairs = zip(evaluated.lists, served.lists, strict=True)
    same = np.array([np.array_equal(mine, theirs) for mine, theirs in pairs])[known]
    common = [
        overlap(offline.scored[number], online.listed(number))
        for number in online.lists.keys() & set(judged)
    ]
    print(
        f"{same.mean():.2%} of {len(same)} lists of 10 are identical; lists of 100 share"
        f" {np.mean(common):.2%}"
    )
    assert same.mean() > 0.95 and np.mean(common) > 0.98


def test_lists_that_are_made_again_are_worth_more_than_those_after_the_basket_before(
    shop: Shop,
) -> None:
    """Each is the one in force: none is due when its basket comes."""
    torch.set_num_threads(1)
    dataset = sample()
    lists = asyncio.run(streamed(shop, dataset, refresh_hours=24))
    scorer = scorer_of(dataset)
    catalogue, popularity = scorer.catalogue, scorer.popularity
    wanted = protocol.queries(dataset, catalogue.available, COMPLETE_JOURNEY.splits)
    before = AsServed.of("before", scorer, dataset, set(wanted))
    online = Published(catalogue, dict(by_visit(dataset, lists)))
    outcome = protocol.run(
        dataset, catalogue, popularity, [before, online], COMPLETE_JOURNEY.splits
    ).judged["test"]
    judged = sorted(number for number, split in wanted.items() if split == "test")
    known = np.array([number in online.lists for number in judged])
    old, new = (np.array(outcome[name].all)[known, 0] for name in ("before", "served"))
    print(f"NDCG@10: after the basket before {old.mean():.4f}, in force {new.mean():.4f}")
    assert new.mean() > old.mean()


def scorer_of(dataset: Dataset) -> Scorer:
    """The bundled model over the products of a data set, before anything happened."""
    loaded = artifact.load(Model().directory)
    encoder = loaded.encoder(None)
    catalogue = make_catalogue(dataset, encoder)
    return loaded.scorer(catalogue, Popularity(), encoder.encode, torch.device("cpu"))


def overlap(scores: Any, listed: Any) -> float:
    """Share of what was listed that is among the best by these scores.

    Products that retrieval cannot tell apart, and there are many, stand in an order that the
    last bit decides; ranking looks at that order.
    """
    best = np.argsort(-scores, kind="stable")[: len(listed)]
    return float(np.isin(listed, best).mean())


def sample() -> Dataset:
    """The Complete Journey, or a part of it."""
    if HOUSEHOLDS is None:
        return complete_journey.load()
    dataset = complete_journey.load(choose(complete_journey.household_ids(), HOUSEHOLDS))
    return replace(dataset, promotions=lambda since: dataset.promotions(max(since, LIVE)))


@dataclass
class Kept:
    """A contender, with what it said kept by the visit's number."""

    inner: AsServed
    scored: dict[int, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.inner.name

    def learned_bytes(self) -> int:
        return self.inner.learned_bytes()

    def add(self, visit: Visit) -> None:
        self.inner.add(visit)

    def scores(self, visit: Visit) -> Any:
        self.scored[visit.number] = self.inner.scores(visit)
        return self.scored[visit.number]


@dataclass
class Published:
    """The lists that the worker published, best first, by the number of the visit judged."""

    catalogue: Catalogue
    lists: dict[int, tuple[str, ...]]
    name: str = "served"
    fresh: dict[int, int] = field(default_factory=dict)
    """How many products of the list the shopper had not bought."""

    def __post_init__(self) -> None:
        self.rows = {product: row for row, product in enumerate(self.catalogue.ids)}

    def learned_bytes(self) -> int:
        return 0

    def add(self, visit: Visit) -> None:
        pass

    def listed(self, number: int) -> Any:
        return np.array([self.rows[product] for product in self.lists.get(number, ())], np.int64)

    def scores(self, visit: Visit) -> Any:
        out, listed = np.full(len(self.catalogue), -np.inf), self.listed(visit.number)
        out[listed] = -np.arange(len(listed))
        bought = self.catalogue.rows(visit.before.product_keys())
        self.fresh[visit.number] = int((~np.isin(listed, bought)).sum())
        return out


def by_visit(
    dataset: Dataset, lists: dict[str, tuple[str, ...]]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    for number, first in enumerate(dataset.visits()[:-1].tolist()):
        basket = dataset.baskets[int(dataset.basket[first])]
        if basket in lists:
            yield number, lists[basket]


async def streamed(shop: Shop, dataset: Dataset, refresh_hours: int) -> dict[str, tuple[str, ...]]:
    """Stream a dataset through a worker.

    Returns the list in force at each basket since `LIVE`, by the basket.
    """
    flags = {
        "app_id": shop.name,
        "kafka": {"bootstrap_servers": shop.broker, "session_timeout_seconds": 6},
        "topics": {"prefix": f"{shop.name}-", "partitions": scenario.PARTITIONS},
        "state": {"directory": shop.directory / "state"},
        "recommendations": {
            "score_from": wire_rows.timestamp(LIVE),
            "k": DEPTH,
            "refresh_hours": refresh_hours,
            "refresh_share": 1.0,
        },
        "model": {"device": "cpu"},
        "http": {"port": processes.free_port(0)},
    }
    settings, progress = load(flags), DemoProgress()
    await create(client_settings(settings.kafka), plan(settings))
    begin, end = int(dataset.time[0]), COMPLETE_JOURNEY.test.end
    history = data.history(dataset, dataset.users)
    told = data.Shop(dataset, begin, end, [], history, list(dataset.promotions(begin)))
    with processes.worker(flags, Path(shop.directory) / "worker.log") as worker:
        async with (
            scenario._connected(settings, progress) as publisher,
            scenario._alongside(processes.watch(worker)),
        ):
            context = DemoContext(DemoOptions(), settings, worker, publisher, progress)
            await publish_catalogue(context, told)
            await processes.until_ready(worker)
            profiles = [
                wire_rows.user_row(user, dataset.profiles.get(user, {}), begin)
                for user in dataset.users
            ]
            await publisher.send(context.topic("users"), profiles)
            announcer = Announcer(context, told)
            await fold(
                context, announcer, households.replay_order(history, 0, LIVE, simulates=False)
            )
            live = households.replay_order(history, LIVE, end, simulates=False)
            lists: dict[str, tuple[str, ...]] = {}
            times = Times(3600 * refresh_hours)
            await replay(
                live, lambda visit: answer(context, visit, lists, times), None, announcer.announce
            )
    assert not progress.dead_letters
    return lists


async def fold(
    context: DemoContext, announcer: Announcer, past: list[households.DemoVisit]
) -> None:
    """Publish what is not answered, week by week.

    A purchase is folded while its week's promotions are known.
    """
    sent = 0
    for week, visits in by_week(past):
        await announcer.announce(week)
        rows = [row for visit in visits for row in wire_rows.visit_rows(visit)]
        await context.publisher.send(context.topic("purchases"), rows)
        sent += len(rows)
        while await folded(context) < sent:
            await asyncio.sleep(0.05)


def by_week(
    visits: Iterable[households.DemoVisit],
) -> Iterator[tuple[int, list[households.DemoVisit]]]:
    """Visits in time order by the promotions' weeks, and when these begin."""
    first, weeks = complete_journey.FIRST_WEEK, dict[int, list[households.DemoVisit]]()
    for visit in visits:
        weeks.setdefault(first + int((visit.time - first) // WEEK * WEEK), []).append(visit)
    yield from weeks.items()


async def folded(context: DemoContext) -> float:
    samples = (
        f'pprm_events_consumed_total{{topic="{context.topic(family)}"}}' for family in EVENTS
    )
    return sum([await processes.metric(context.worker, sample) for sample in samples])


@dataclass
class Times:
    """As of when the newest lists are, and how late it is in each partition for the worker."""

    period: int
    """Seconds after which a list is made again; 0: never."""
    of_records: dict[RecordPlace, int] = field(default_factory=dict)
    now: dict[int, int] = field(default_factory=dict)
    homes: dict[str, int] = field(default_factory=dict)
    """By household, its partition."""
    answered: dict[str, int] = field(default_factory=dict)
    """By household, when its last basket was."""

    def sent(self, visit: households.DemoVisit, last: RecordPlace) -> None:
        """Note the records of a basket, whose last one is there."""
        for back in range(len(visit.products)):
            self.of_records[last._replace(offset=last.offset - back)] = visit.time

    def processed(self, visit: households.DemoVisit, partition: int) -> None:
        """The worker has answered a basket."""
        self.now[partition] = max(self.now.get(partition, 0), visit.time)
        self.homes[visit.household] = partition
        self.answered[visit.household] = visit.time

    def is_due(self, household: str, listed: Listed) -> bool:
        """Whether the worker is about to make a household's list again."""
        if not self.period or household not in self.homes:
            return False
        slot, bought = slot_of(stable_hash(household), self.period), self.answered[household]
        if listed.is_asked:
            at = due(bought, bought + SESSION, slot, self.period)
        elif (made_at := self.of_records.get(listed.trigger)) is not None:
            at = due(made_at, None, slot, self.period)
        else:
            return True  # its record was acknowledged to somebody who has not said so yet
        return at <= self.now[self.homes[household]]


async def answer(
    context: DemoContext,
    visit: households.DemoVisit,
    lists: dict[str, tuple[str, ...]],
    times: Times,
) -> None:
    """Publish a basket and wait for the list after it; keep the one in force when it comes."""
    received = context.progress.lists
    if visit.household in received.newest:
        async with asyncio.timeout(60):
            while times.is_due(visit.household, received.newest[visit.household]):
                await asyncio.sleep(0.005)
        lists[visit.basket] = received.newest[visit.household].products
    topic = context.topic(visit.family)
    ((partition, offset),) = (
        await context.publisher.send(topic, wire_rows.visit_rows(visit))
    ).items()
    times.sent(visit, RecordPlace(topic, partition, offset))
    await received.answer(visit.household, RecordPlace(topic, partition, offset))
    times.processed(visit, partition)
