"""ItemKNN, ALS and BPR against other libraries and against what they must find."""

from math import inf
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from pprm.catalogue.popularity import Popularity
from pprm.data.replay import replay
from pprm.evaluation.baselines.als import Als
from pprm.evaluation.baselines.bpr import Bpr
from pprm.evaluation.baselines.item_knn import ItemKnn
from pprm.ranking import factors
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
UNTIL = BEGIN + 100 * DAY
VISITS = list(replay(SHOP, CATALOGUE, Popularity(), BEGIN + 120 * DAY))
BEFORE = SHOP.time < UNTIL


def _history(user: int, now: int, half_life: float) -> np.ndarray:
    mine = (SHOP.user == user) & (SHOP.time < now)
    return np.bincount(
        SHOP.product[mine], 0.5 ** ((now - SHOP.time[mine]) / DAY / half_life), len(CATALOGUE)
    )


@pytest.mark.parametrize("keeps_itself", [False, True])
@pytest.mark.parametrize("over", ["households", "baskets"])
def test_item_knn_sums_cosines(over: Literal["households", "baskets"], keeps_itself: bool) -> None:
    holder = (SHOP.user if over == "households" else SHOP.basket)[BEFORE]
    matrix = np.zeros((holder.max() + 1, len(CATALOGUE)))
    matrix[holder, SHOP.product[BEFORE]] = 1
    matrix[:, ~CATALOGUE.available] = 0
    cosines = cosine_similarity(matrix.T)
    if not keeps_itself:
        np.fill_diagonal(cosines, 0)
    baseline = ItemKnn(over, 28.0, keeps_itself)  # has room for more neighbours than there are
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    for visit in VISITS:
        if visit.now > UNTIL:
            wanted = _history(visit.user, visit.now, 28.0) @ cosines
            assert baseline.scores(visit) == pytest.approx(wanted, abs=1e-5)
        baseline.add(visit)


def test_item_knn_keeps_the_nearest_neighbours() -> None:
    baselines = [ItemKnn("households", inf, False, neighbours) for neighbours in (5, 200)]
    for baseline in baselines:
        baseline.learn(SHOP, CATALOGUE, UNTIL)
    few, all_ = (baseline._similarity.toarray() for baseline in baselines)
    for row, wanted in zip(few, all_, strict=True):
        assert np.sort(row)[-5:] == pytest.approx(np.sort(wanted)[-5:])
        assert (row > 0).sum() <= 5


def test_als_solves_the_live_shopper_as_the_model_does() -> None:
    baseline = Als(factors.FACTORS, factors.REGULARISATION, factors.CONFIDENCE, factors.HALF_LIFE)
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    learned = factors.fit(
        SHOP.user[BEFORE], SHOP.product[BEFORE], (UNTIL - SHOP.time[BEFORE]) / DAY, len(CATALOGUE)
    )
    for visit in VISITS:
        if visit.now > UNTIL and visit.number % 10 == 0:
            counts = _history(visit.user, visit.now, factors.HALF_LIFE)
            bought = np.flatnonzero(counts)
            mine, confidence = (
                learned.product[bought],
                factors.CONFIDENCE * np.log1p(2.0 * counts[bought]),
            )
            system = learned.product.T @ learned.product + factors.REGULARISATION * np.eye(
                factors.FACTORS
            )
            system += (mine.T * (confidence - 1)) @ mine
            wanted = learned.product @ np.linalg.solve(system, mine.T @ confidence)
            assert baseline.scores(visit) == pytest.approx(wanted, abs=1e-4)
        baseline.add(visit)


def test_bpr_ranks_what_a_shopper_bought_first() -> None:
    baseline = Bpr(factors=16, learning_rate=0.1, iterations=200)
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    correct = []
    for user in range(len(SHOP.users)):
        scores = baseline.scores(VISITS[0]._replace(user=user))
        mine = np.isin(np.arange(len(CATALOGUE)), SHOP.product[BEFORE & (SHOP.user == user)])
        correct.append((scores[mine][:, None] > scores[~mine]).mean())
    assert np.mean(correct) > 0.9


def test_bpr_gives_a_shopper_without_purchases_what_is_popular() -> None:
    user = int(SHOP.user[0])
    shop = dataset()
    shop.time[shop.user == user] = UNTIL  # all others are known by then
    baseline = Bpr(factors=8)
    baseline.learn(shop, CATALOGUE, UNTIL)
    assert np.array_equal(baseline.scores(VISITS[0]._replace(user=user)), baseline._products[:, -1])
