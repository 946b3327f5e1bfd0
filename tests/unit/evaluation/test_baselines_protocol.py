"""What holds for every baseline.

No look-ahead, the same scores again, a score for every product.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pprm.catalogue.popularity import Popularity
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit, replay
from pprm.evaluation.baselines import Baseline
from pprm.evaluation.baselines.als import Als
from pprm.evaluation.baselines.bpr import Bpr
from pprm.evaluation.baselines.item_knn import ItemKnn
from pprm.evaluation.baselines.popularity import PopularityBaseline
from pprm.evaluation.baselines.sasrec import SasRec
from pprm.evaluation.baselines.tifu_knn import TifuKnn
from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from pprm.experiments.grid import GRIDS, tune, validate
from pprm.experiments.learned import ALL
from pprm.experiments.lightgbm_ranker import LightGbmRanker
from pprm.training import training_set
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP, CUT = dataset(), dataset(visits=1000)
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
UNTIL = BEGIN + 150 * DAY
VISITS = list(replay(SHOP, CATALOGUE, Popularity(), BEGIN + 213 * DAY))
SMALL: list[Callable[[], Baseline]] = [
    lambda: PopularityBaseline(None),
    lambda: PopularityBaseline(28),
    PersonalTopFrequency,
    lambda: TifuKnn(neighbours=5),
    lambda: ItemKnn("households"),
    lambda: ItemKnn("baskets", keeps_itself=True),
    lambda: Als(factors=8),
    lambda: Bpr(factors=8, iterations=5),
    lambda: SasRec(width=8, length=10, steps=5, batch=8),
    lambda: LightGbmRanker(trees=5, visits=200),
]


@pytest.fixture(autouse=True)
def _replay_of_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the training set both before and after its replay takes the catalogue."""
    monkeypatch.setattr(
        training_set, "replay", lambda shop, *rest: replay(shop, CATALOGUE, *rest[-2:])
    )


def run(baseline: Baseline, shop: Dataset, visits: list[Visit]) -> NDArray[np.floating]:
    """Scores of every fifth visit from `UNTIL` on, [queries, products]."""
    baseline.learn(shop, CATALOGUE, UNTIL)
    out = []
    for visit in visits:
        if visit.now >= UNTIL and visit.number % 5 == 0:
            out.append(baseline.scores(visit))
        baseline.add(visit)
    return np.stack(out)


@pytest.mark.parametrize("make", SMALL, ids=lambda make: make().name)
def test_the_future_does_not_change_the_scores_and_a_second_run_gives_the_same(
    make: Callable[[], Baseline],
) -> None:
    cut = list(replay(CUT, CATALOGUE, Popularity(), UNTIL + 60 * DAY))
    baseline = make()
    short, whole = run(baseline, CUT, cut), run(make(), SHOP, VISITS)
    assert 20 < len(short) < len(whole)
    assert np.array_equal(short, whole[: len(short)])
    assert np.array_equal(run(baseline, SHOP, VISITS), whole)  # learning begins anew


@pytest.mark.parametrize("make", SMALL, ids=lambda make: make().name)
def test_scores_are_of_all_rows_also_for_a_shopper_without_purchases(
    make: Callable[[], Baseline],
) -> None:
    baseline = make()
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    scores = baseline.scores(VISITS[0])
    assert scores.shape == (len(CATALOGUE),)
    assert np.isfinite(scores[CATALOGUE.available]).all()


def test_what_was_learned_is_weighed() -> None:
    weights = {}
    for make in SMALL:
        baseline = make()
        baseline.learn(SHOP, CATALOGUE, UNTIL)
        weights[type(baseline).__name__] = baseline.learned_bytes()
    als = next(made for made in map(lambda make: make(), SMALL) if type(made).__name__ == "Als")
    assert weights["Als"] == len(CATALOGUE) * als.factors * 4
    assert weights["PopularityBaseline"] == weights["PersonalTopFrequency"] == len(CATALOGUE) * 4
    assert all(weights.values())


def test_all_baselines_have_names_of_their_own() -> None:
    names = [make().name for make in [*ALL, *(make for grid in GRIDS.values() for make in grid)]]
    assert len({make().name for make in ALL}) == len(ALL)
    assert len(set(names)) == len(set(names[len(ALL) :]))  # what ALL has is in a grid


def test_tuning_chooses_the_best_by_ndcg() -> None:
    rows = np.flatnonzero(CATALOGUE.available)
    queries = {
        visit.number
        for visit in VISITS
        if visit.now >= UNTIL and CATALOGUE.available[visit.products].any()
    }
    grids = {
        "popularity": [lambda: PopularityBaseline(7)],
        "own": [lambda: PopularityBaseline(28), PersonalTopFrequency],
    }
    tried = tune(grids, SHOP, CATALOGUE, VISITS, queries, rows, UNTIL)
    assert [one.name for one in tried["own"]] == [PersonalTopFrequency().name, "popularity 28 d"]
    assert tried["own"][0].ndcg > 2 * tried["own"][1].ndcg > 0
    again = tried["own"][0].make()
    again.learn(SHOP, CATALOGUE, UNTIL)
    assert validate([again], VISITS, queries, rows, len(CATALOGUE)) == pytest.approx(
        [tried["own"][0].ndcg]
    )
