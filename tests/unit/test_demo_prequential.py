"""The comparison, against a slow computation of the same."""

import math
import random

import numpy as np
import pytest

from worker.demo.households import DAY, Visit, browses
from worker.demo.lists import Listed, Position
from worker.demo.live import _Judge
from worker.demo.prequential import Ranked, Scores, baselines
from worker.demo.progress import Progress

PRODUCTS = [f"p{number}" for number in range(30)]


def a_history(seed: int = 0) -> dict[str, list[Visit]]:
    chance = random.Random(seed)
    history: dict[str, list[Visit]] = {}
    for household in ("1", "2", "3"):
        times = sorted(chance.sample(range(90 * DAY), 40))
        history[household] = [
            Visit(
                time, household, "purchases", tuple(chance.sample([*PRODUCTS, "elsewhere"], 4)), f"{household}-{time}"
            )
            for time in times
        ]
    return history


def counts(history: dict[str, list[Visit]], now: int, days: float) -> dict[str, int]:
    bought = [p for visits in history.values() for v in visits if now - days * DAY <= v.time < now for p in v.products]
    return {product: bought.count(product) for product in PRODUCTS}


def best(scores: dict[str, tuple[float, ...]]) -> list[int]:
    return [
        PRODUCTS.index(p) for p in sorted(PRODUCTS, key=lambda p: ([-s for s in scores[p]], PRODUCTS.index(p)))[:10]
    ]


def slowly(history: dict[str, list[Visit]], household: str, now: int) -> tuple[list[int], list[int]]:
    week, month = counts(history, now, 7), counts(history, now, 28)
    own = dict.fromkeys(PRODUCTS, 0.0)
    for visit in history[household]:
        for product in visit.products:
            if visit.time < now and product in own:
                own[product] += 2 ** ((visit.time - now) / DAY / 60)
    return best({p: (week[p],) for p in PRODUCTS}), best({p: (own[p], month[p]) for p in PRODUCTS})


@pytest.mark.parametrize("seed", range(3))
def test_the_baselines_rank_as_a_slow_computation_does(seed: int) -> None:
    history = a_history(seed)
    quick = baselines(PRODUCTS, history)
    for visit in sorted(v for visits in history.values() for v in visits)[::7]:
        ranked = quick.at(visit.household, visit.time)
        assert (ranked.popularity.tolist(), ranked.top_frequency.tolist()) == slowly(history, *visit[1::-1])


def test_the_baselines_see_nothing_of_the_basket_or_later() -> None:
    history, now = a_history(), 60 * DAY
    past = {name: [visit for visit in visits if visit.time < now] for name, visits in history.items()}
    with_future, without = baselines(PRODUCTS, history).at("1", now), baselines(PRODUCTS, past).at("1", now)
    assert [rows.tolist() for rows in with_future] == [rows.tolist() for rows in without]


def test_the_figures_are_means_over_baskets() -> None:
    scores, none = Scores(), np.array([], np.int64)
    scores.add({1, 2}, np.array([5, 1, 6]), Ranked(np.array([1, 2]), none))
    scores.add({9}, np.array([5, 1, 6]), Ranked(none, np.array([9])))
    ideal = 1 + 1 / math.log2(3)
    assert scores.means() == {
        "baskets": 2,
        "hit_rate_at_10": 0.5,
        "ndcg_at_10": round(1 / math.log2(3) / ideal / 2, 4),
        "popularity_ndcg_at_10": 0.5,
        "top_frequency_ndcg_at_10": 0.5,
    }
    assert Scores().means()["ndcg_at_10"] is None


def judged(visit: Visit) -> int:
    progress = Progress()
    progress.lists.newest[visit.household] = Listed("i", ("p1",), (("due",),), Position("users", 0, 0))
    history = {visit.household: [visit]}
    _Judge(progress, baselines(PRODUCTS, history)).judge(visit)
    return progress.scores.baskets


def test_only_real_baskets_with_a_product_that_can_be_listed_are_judged() -> None:
    plain = next(name for name in map(str, range(100)) if not browses(name))
    browsing = next(name for name in map(str, range(100)) if browses(name))
    assert judged(Visit(DAY, plain, "purchases", ("p1",), "b")) == 1
    assert judged(Visit(DAY, plain, "purchases", ("elsewhere",), "b")) == 0
    assert judged(Visit(DAY, browsing, "purchases", ("p1",), "b")) == 0
    assert judged(Visit(DAY, browsing, "browses", ("p1",), "b")) == 0
