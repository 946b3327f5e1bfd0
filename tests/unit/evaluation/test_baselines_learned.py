"""SASRec and LightGBM: they find what is there to be found."""

from dataclasses import replace

import numpy as np
import pytest

from pprm.catalogue.popularity import Popularity
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit, replay
from pprm.evaluation.baselines.sasrec import SasRec
from pprm.experiments.lightgbm_ranker import LightGbmRanker
from pprm.retrieval import features
from pprm.state.user_state import UserState
from pprm.training import training_set
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
UNTIL = BEGIN + 150 * DAY


def _cycle() -> Dataset:
    """Each shopper buys the available products one a day, always in the same order."""
    rows = np.flatnonzero(CATALOGUE.available)[:12]
    users, days = 10, 100
    user, day = np.tile(np.arange(users), days), np.repeat(np.arange(days), users)
    return replace(
        SHOP, user=user.astype(np.int32), product=rows[(day + user) % len(rows)].astype(np.int32),
        basket=np.arange(users * days, dtype=np.int32), time=BEGIN + day * DAY + user,
    )  # fmt: skip


def test_sasrec_learns_a_cycle() -> None:
    shop = _cycle()
    baseline = SasRec(width=16, length=8, steps=60, batch=32, learning_rate=2e-2)
    baseline.learn(shop, CATALOGUE, BEGIN + 80 * DAY)
    for at in range(len(shop.user)):
        now = int(shop.time[at])
        visit = Visit(
            at, int(shop.user[at]), now, shop.product[at : at + 1], UserState(), UserState()
        )
        if now > BEGIN + 96 * DAY:
            assert np.argmax(baseline.scores(visit)) == shop.product[at]
        baseline.add(visit)


def test_sasrec_leaves_out_what_is_not_available_and_shuffles_baskets_only_within() -> None:
    baseline = SasRec(width=8, length=10, steps=1, batch=8)
    baseline.learn(SHOP, CATALOGUE, UNTIL)
    shown = CATALOGUE.available[SHOP.product] & (SHOP.time < UNTIL)
    sequences = baseline._sequences(SHOP, UNTIL)
    assert len(sequences) == len(SHOP.users)
    for user, sequence in enumerate(sequences):
        mine = shown & (SHOP.user == user)
        wanted, baskets = baseline._codes[SHOP.product[mine]], SHOP.basket[mine]
        assert all(
            sorted(sequence[baskets == b]) == sorted(wanted[baskets == b])
            for b in np.unique(baskets)
        )
    assert any((np.diff(sequence) < 0).any() for sequence in sequences)


@pytest.fixture(name="ranker")
def _ranker(monkeypatch: pytest.MonkeyPatch) -> LightGbmRanker:
    # For the training set both before and after its replay takes the catalogue.
    monkeypatch.setattr(
        training_set, "replay", lambda shop, *rest: replay(shop, CATALOGUE, *rest[-2:])
    )
    ranker = LightGbmRanker(trees=20, visits=300)
    ranker.learn(SHOP, CATALOGUE, UNTIL)
    return ranker


def test_lightgbm_sees_the_popularity_of_the_replay(ranker: LightGbmRanker) -> None:
    popularity, rows = Popularity(), np.flatnonzero(CATALOGUE.available)
    for visit in replay(SHOP, CATALOGUE, popularity, BEGIN + 200 * DAY):
        if visit.number % 20 == 0:
            wanted = popularity.features(CATALOGUE.hashes[rows])
            assert ranker._features(visit.now, rows) == pytest.approx(wanted, abs=1e-6)
        ranker.add(visit)


def test_lightgbm_scores_each_row_by_its_own_features(ranker: LightGbmRanker) -> None:
    popularity, row = Popularity(), int(np.flatnonzero(CATALOGUE.available)[7])
    for visit in replay(SHOP, CATALOGUE, popularity, UNTIL + 20 * DAY):
        if visit.now > UNTIL:
            groups = features.groups(visit.before, CATALOGUE, visit.now)
            daily = popularity.features(CATALOGUE.hashes[[row]])
            cross = features.dense(groups, CATALOGUE, np.array([row]), daily)[0]
            inputs = np.r_[cross, features.scalars(visit.before, visit.now)]
            assert ranker.scores(visit)[row] == pytest.approx(
                ranker._model.predict(inputs[None], raw_score=True)[0]
            )
        ranker.add(visit)


def test_lightgbm_ranks_what_a_shopper_will_buy_high(ranker: LightGbmRanker) -> None:
    ranks = []
    for visit in replay(SHOP, CATALOGUE, Popularity(), UNTIL + 20 * DAY):
        if visit.now > UNTIL:
            scores = ranker.scores(visit)
            ranks += [(scores > scores[p]).sum() for p in visit.products if CATALOGUE.available[p]]
        ranker.add(visit)
    assert np.mean(ranks) < 12  # of 54; a taste has 15 products
