"""The comparison, against a slow computation of the same."""

import math
import random

import numpy as np
import pytest

from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from worker.demo.demo_progress import DemoProgress
from worker.demo.households import DAY, DemoVisit, browses
from worker.demo.lists import Listed, RecordPlace
from worker.demo.prequential import Scores, baselines
from worker.demo.replay_run import _Judge

PRODUCTS = [f"p{number}" for number in range(30)]


def a_history(seed: int = 0) -> dict[str, list[DemoVisit]]:
    chance = random.Random(seed)
    history: dict[str, list[DemoVisit]] = {}
    for household in ("1", "2", "3"):
        times = sorted(chance.sample(range(90 * DAY), 40))
        history[household] = [
            DemoVisit(
                time,
                household,
                "purchases",
                tuple(chance.sample([*PRODUCTS, "elsewhere"], 4)),
                f"{household}-{time}",
            )
            for time in times
        ]
    return history


def counts(history: dict[str, list[DemoVisit]], now: int, days: float) -> dict[str, int]:
    bought = [
        p
        for visits in history.values()
        for v in visits
        if now - days * DAY <= v.time < now
        for p in v.products
    ]
    return {product: bought.count(product) for product in PRODUCTS}


def best(scores: dict[str, tuple[float, ...]]) -> list[int]:
    return [
        PRODUCTS.index(p)
        for p in sorted(PRODUCTS, key=lambda p: ([-s for s in scores[p]], PRODUCTS.index(p)))[:10]
    ]


def slowly(history: dict[str, list[DemoVisit]], household: str, now: int) -> dict[str, list[int]]:
    week, month, ever = (counts(history, now, days) for days in (7, 28, 1000))
    own = dict.fromkeys(PRODUCTS, 0.0)
    for visit in history[household]:
        for product in visit.products:
            if visit.time < now and product in own:
                own[product] += 2 ** ((visit.time - now) / DAY / 60)
    return {
        "popularity": best({p: (week[p],) for p in PRODUCTS}),
        "popularity_28d": best({p: (month[p],) for p in PRODUCTS}),
        "popularity_all_time": best({p: (ever[p],) for p in PRODUCTS}),
        "top_frequency": best(
            {p: (own[p] + month[p] / max(1, *month.values()),) for p in PRODUCTS}
        ),
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_baselines_rank_as_a_slow_computation_does(seed: int) -> None:
    history = a_history(seed)
    quick = baselines(PRODUCTS, history, PersonalTopFrequency(60.0, 1.0, 28))
    for visit in sorted(v for visits in history.values() for v in visits)[::7]:
        ranked = quick.at(visit.household, visit.time)
        assert {name: rows.tolist() for name, rows in ranked.items()} == slowly(
            history, *visit[1::-1]
        )


def test_what_was_looked_at_last_comes_first_where_anybody_looks() -> None:
    history = {"1": [DemoVisit(DAY, "1", "purchases", ("p9",), "b")], "2": []}
    for second, product in ((1, "p3"), (2, "p4"), (3, "p3")):
        history["2"].append(
            DemoVisit(DAY + second, "2", "browses", (product,), f"e{second}", action="view")
        )
    ranked = baselines(PRODUCTS, history).at("2", DAY + 9)["looked_at_last"]
    assert ranked[:3].tolist() == [3, 4, 9]


def test_the_baselines_see_nothing_of_the_basket_or_later() -> None:
    history, now = a_history(), 60 * DAY
    past = {
        name: [visit for visit in visits if visit.time < now] for name, visits in history.items()
    }
    with_future, without = (
        baselines(PRODUCTS, history).at("1", now),
        baselines(PRODUCTS, past).at("1", now),
    )
    assert all(np.array_equal(rows, without[name]) for name, rows in with_future.items())


def test_the_figures_are_means_over_baskets() -> None:
    scores, none = Scores(), np.array([], np.int64)
    scores.add({1, 2}, np.array([5, 1, 6]), {"popularity": np.array([1, 2]), "top_frequency": none})
    scores.add({9}, np.array([5, 1, 6]), {"popularity": none, "top_frequency": np.array([9])})
    ideal = 1 + 1 / math.log2(3)
    assert scores.means() == {
        "baskets": 2,
        "hit_rate_at_10": 0.5,
        "ndcg_at_10": round(1 / math.log2(3) / ideal / 2, 4),
        "popularity_ndcg_at_10": 0.5,
        "top_frequency_ndcg_at_10": 0.5,
    }
    assert Scores().means()["ndcg_at_10"] is None
    assert (
        scores.better() == ["own frequency with popularity", "7-day popularity"]
        and Scores().better() == []
    )


def judged(visit: DemoVisit) -> int:
    progress = DemoProgress()
    progress.lists.newest[visit.household] = Listed(
        "i", ("p1",), (("due",),), RecordPlace("users", 0, 0)
    )
    history = {visit.household: [visit]}
    _Judge(progress, baselines(PRODUCTS, history)).judge(visit)
    return progress.scores.baskets


def test_only_real_baskets_with_a_product_that_can_be_listed_are_judged() -> None:
    plain = next(name for name in map(str, range(100)) if not browses(name))
    browsing = next(name for name in map(str, range(100)) if browses(name))
    assert judged(DemoVisit(DAY, plain, "purchases", ("p1",), "b")) == 1
    assert judged(DemoVisit(DAY, plain, "purchases", ("elsewhere",), "b")) == 0
    assert judged(DemoVisit(DAY, browsing, "purchases", ("p1",), "b")) == 0
    assert judged(DemoVisit(DAY, browsing, "browses", ("p1",), "b")) == 0
