"""Popularity, top frequency and TIFU-KNN against slow computations from the definitions."""

from math import inf

import numpy as np
import pytest

from pprm.catalogue.popularity import Popularity
from pprm.data.replay import replay
from pprm.evaluation.baselines.history import DecayedCounts
from pprm.evaluation.baselines.popularity import PopularityBaseline
from pprm.evaluation.baselines.tifu_knn import TifuKnn, basket_weights
from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
VISITS = list(replay(SHOP, CATALOGUE, Popularity(), BEGIN + 213 * DAY))
UNTIL = BEGIN + 100 * DAY


@pytest.mark.parametrize("days", [7, 28, None])
def test_popularity_counts_the_window_strictly_before(days: int | None) -> None:
    popularity = PopularityBaseline(days)
    popularity.learn(SHOP, CATALOGUE, UNTIL)
    for visit in VISITS:
        if visit.number % 7 == 0:
            inside = (SHOP.time < visit.now) & (SHOP.time >= visit.now - (days or 1000) * DAY)
            assert np.array_equal(
                popularity.scores(visit),
                np.bincount(SHOP.product[inside], minlength=len(CATALOGUE)),
            )
        popularity.add(visit)


@pytest.mark.parametrize("half_life", [28.0, inf])
def test_top_frequency_is_the_sum_of_decayed_purchases(half_life: float) -> None:
    baseline = PersonalTopFrequency(half_life, 1e-6)
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    for visit in VISITS:
        if visit.number % 50 == 49:
            mine = (SHOP.user == visit.user) & (SHOP.time < visit.now)
            weights = 0.5 ** ((visit.now - SHOP.time[mine]) / DAY / half_life)
            wanted = np.bincount(SHOP.product[mine], weights, len(CATALOGUE))
            assert baseline.scores(visit) == pytest.approx(wanted, abs=2e-6)
        baseline.add(visit)


def test_nobody_knows_a_shopper_who_bought_nothing() -> None:
    products, counts = DecayedCounts(7.0).of(3, BEGIN)
    assert len(products) == len(counts) == 0


def test_weights_of_baskets_follow_the_paper() -> None:
    # Groups {1}, {2, 3}: v = (rg * b1 + (rb * b2 + b3) / 2) / 2
    assert basket_weights(3, 2, 0.9, 0.7) == pytest.approx([0.7 / 2, 0.9 / 4, 1 / 4])
    # as many groups as there are baskets
    assert basket_weights(2, 7, 0.9, 0.7) == pytest.approx([0.7 / 2, 1 / 2])
    assert basket_weights(17, 7, 1.0, 1.0).sum() == pytest.approx(1)


def _vector(
    user: int, before: int, m: int = 3, within: float = 0.9, between: float = 0.7
) -> np.ndarray:
    """By the definition, basket by basket."""
    mine = np.flatnonzero((SHOP.user == user) & (SHOP.time < before))
    baskets = [SHOP.product[mine[SHOP.basket[mine] == b]] for b in np.unique(SHOP.basket[mine])]
    groups = [
        part[::-1] for part in np.array_split(np.arange(len(baskets))[::-1], min(m, len(baskets)))
    ][::-1]
    total = np.zeros(len(CATALOGUE))
    for j, group in enumerate(groups):
        for i, basket in enumerate(group):
            weight = within ** (len(group) - 1 - i) / len(group)
            total[baskets[basket]] += weight * between ** (len(groups) - 1 - j) / len(groups)
    return total


def test_tifu_knn_blends_the_live_vector_with_the_nearest_others() -> None:
    baseline = TifuKnn(groups=3, within=0.9, between=0.7, alpha=0.6, neighbours=4)
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    frozen = np.stack([_vector(user, UNTIL) for user in range(len(SHOP.users))])
    for visit in VISITS:
        if visit.now > UNTIL and visit.number % 20 == 0:
            own = _vector(visit.user, visit.now)
            distances = np.linalg.norm(frozen - own, axis=1)
            distances[visit.user] = np.inf
            wanted = 0.6 * own + 0.4 * frozen[np.argsort(distances)[:4]].mean(0)
            assert baseline.scores(visit) == pytest.approx(wanted)
        baseline.add(visit)
