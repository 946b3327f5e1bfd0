"""What a shop has without a model: as strong as it can be, and nothing of the future in it."""

from dataclasses import replace
from itertools import product as every
from math import inf

import numpy as np
import pytest

from pprm.catalogue.popularity import Popularity
from pprm.core.events import Interaction, Kind, Position
from pprm.data.complete_journey import PLAN as COMPLETE_JOURNEY
from pprm.data.replay import Visit, replay
from pprm.evaluation import protocol
from pprm.evaluation.baselines import top_frequency, trivial
from pprm.evaluation.baselines.last_looked import LastLooked
from pprm.evaluation.baselines.popularity import PopularityBaseline
from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from pprm.experiments.grid import tune
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
VALIDATION = set(
    protocol.queries(
        SHOP, CATALOGUE.available, {"validation": COMPLETE_JOURNEY.validation._replace(most=9)}
    )
)


def test_popularity_rolls_to_the_very_moment_and_does_not_count_it() -> None:
    popularity, noon = PopularityBaseline(7), BEGIN + 10 * DAY + DAY // 2
    popularity.begin(3)
    for product, before in ((0, 7 * DAY + 1), (1, 7 * DAY), (1, 60), (2, 0)):
        popularity.sold(np.array([product], np.int32), noon - before)
    assert popularity.at(noon).tolist() == [0, 2, 0]  # today until now, and a week to the second
    assert popularity.at(noon + 1).tolist() == [0, 1, 1]


def test_own_purchases_are_mixed_with_popularity_by_weight() -> None:
    for weight, wanted in ((1e-6, [1, 0, 2]), (3.0, [2, 1, 0])):
        mixed = PersonalTopFrequency(60.0, weight, None)
        mixed.begin(3)
        mixed.bought(1, np.array([0], np.int32), BEGIN)
        for shopper in range(2, 7):
            mixed.bought(shopper, np.array([2], np.int32), BEGIN + 59 * DAY)
        mixed.bought(1, np.array([1], np.int32), BEGIN + 60 * DAY - 5)
        assert np.argsort(-mixed.of(1, BEGIN + 60 * DAY), kind="stable").tolist() == wanted


def test_the_settings_are_those_that_a_slow_search_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_frequency, "HALF_LIVES", (7.0, 60.0, inf))
    monkeypatch.setattr(top_frequency, "WEIGHTS", (1e-6, 0.3, 3.0))
    monkeypatch.setattr(top_frequency, "WINDOWS", (28,))
    chosen = top_frequency.choose(SHOP, CATALOGUE.available, VALIDATION)
    grid = [
        lambda s=s: PersonalTopFrequency(*s, 28) for s in every((7.0, 60.0, inf), (1e-6, 0.3, 3.0))
    ]
    visits = list(replay(SHOP, CATALOGUE, Popularity(), COMPLETE_JOURNEY.until))
    tried = tune(
        {"own": grid}, SHOP, CATALOGUE, visits, VALIDATION, np.flatnonzero(CATALOGUE.available), 0
    )
    assert len(VALIDATION) > 50
    best = [one.name for one in tried["own"] if one.ndcg > tried["own"][0].ndcg - 1e-3]
    assert chosen.name in best and tried["own"][-1].name not in best


def test_the_choice_sees_nothing_after_the_validation() -> None:
    cut = dataset(visits=1100)
    assert int(cut.time[-1]) > COMPLETE_JOURNEY.until
    names = {
        top_frequency.choose(shop, CATALOGUE.available, VALIDATION).name for shop in (SHOP, cut)
    }
    assert len(names) == 1
    assert top_frequency.choose(SHOP, CATALOGUE.available, ()).name == PersonalTopFrequency().name


def test_looks_are_ranked_by_their_time_and_popularity_fills_up() -> None:
    hashes = CATALOGUE.hashes.tolist()
    acts = [
        Interaction(Position(0, 0, 0), Kind.PURCHASE, hashes[3], BEGIN, 1),
        Interaction(Position(1, 0, 0), Kind.VIEW, hashes[5], BEGIN + 10),
        Interaction(Position(1, 0, 1), Kind.VIEW, hashes[4], BEGIN + 20),
    ]
    state, looked = fold(UserState(), acts).state, LastLooked()
    looked.learn(SHOP, CATALOGUE, 0)
    looked.add(Visit(0, 1, BEGIN, np.array([7], np.int32), state, state))
    scores = looked.scores(Visit(1, 0, BEGIN + 30, np.zeros(0, np.int32), state, state))
    assert np.argsort(-scores)[:3].tolist() == [4, 5, 7] and np.count_nonzero(scores) == 3


def test_every_trivial_contender_that_makes_sense_takes_part() -> None:
    plain = [one.name for one in trivial.contenders(SHOP, CATALOGUE, VALIDATION)]
    assert (
        plain[:3] == ["popularity 7 d", "popularity 28 d", "popularity, all time"]
        and len(plain) == 4
    )
    looking = replace(
        SHOP, kind=np.where(SHOP.basket % 2, Kind.PURCHASE, Kind.VIEW).astype(np.uint8)
    )
    assert [one.name for one in trivial.contenders(looking, CATALOGUE, ())][-1] == "looked at last"
