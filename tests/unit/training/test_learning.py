"""Replay, training set, training and evaluation on a small shop.

No look-ahead, same seed same model, right counts.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pprm.catalogue.popularity import Popularity
from pprm.data.complete_journey import PLAN as COMPLETE_JOURNEY
from pprm.data.replay import next_visits, replay
from pprm.data.visits import choose_visits
from pprm.evaluation import baselines, protocol, report
from pprm.evaluation.baselines.top_frequency import PersonalTopFrequency
from pprm.evaluation.contenders import AsServed, AtVisit
from pprm.retrieval.model import PPRMConfig
from pprm.serving.scorer import Scorer
from pprm.state.user_state import encode
from pprm.training import training_set
from pprm.training.fit import LEAST_STEPS, fit
from pprm.training.train import make_catalogue
from pprm.training.training_set import IGNORED
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CATALOGUE = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
PERIOD = (BEGIN + 60 * DAY, BEGIN + 150 * DAY)
USERS = Encoder().encode([SHOP.profile(user) for user in SHOP.users])
CONFIG = PPRMConfig(text_dimensions=16, projected=8, product=8, hidden=(16, 8), epochs=2, batch=16)


def examples_of(visits: int) -> training_set.TrainingSet:
    return training_set.build(
        SHOP, CATALOGUE, choose_visits(SHOP, CATALOGUE, PERIOD, 0)[:visits], PERIOD[1], 0
    )


def test_the_future_does_not_change_the_past() -> None:
    whole, cut = dataset(), dataset(visits=500)
    until = int(cut.time[-1]) + 1
    seen = [
        [
            (encode(v.before), encode(v.after), p.features(CATALOGUE.hashes).tobytes())
            for v in replay(shop, CATALOGUE, p, until)
        ]
        for shop, p in ((whole, Popularity()), (cut, Popularity()))
    ]
    assert len(seen[0]) == 500 and seen[0] == seen[1]


def test_training_examples_do_not_change_when_the_future_is_cut_off() -> None:
    cut = dataset(visits=900)
    until = int(cut.time[-1])
    period = (PERIOD[0], until - 40 * DAY)
    examples = [
        training_set.build(
            shop, CATALOGUE, choose_visits(cut, CATALOGUE, period, 1)[:150], period[1], 1
        )
        for shop in (dataset(), cut)
    ]
    for name in training_set.TrainingSet.__dataclass_fields__:
        assert np.array_equal(getattr(examples[0], name), getattr(examples[1], name)), name


def test_popularity_is_as_of_the_day_of_the_visit() -> None:
    popularity = Popularity()
    assert all(
        popularity.day == visit.now // DAY
        for visit in replay(SHOP, CATALOGUE, popularity, BEGIN + 30 * DAY)
    )


def test_a_state_before_a_visit_holds_nothing_of_it() -> None:
    for visit in replay(SHOP, CATALOGUE, Popularity(), BEGIN + 100 * DAY):
        assert visit.before.last_purchase < visit.now or not visit.before.purchases
        assert visit.after.last_purchase == visit.now


def test_examples_are_labelled_by_what_was_bought() -> None:
    examples = examples_of(200)
    assert len(examples.user) > 150
    assert (examples.labels == 1).any(1).all() and (examples.labels == IGNORED).any()
    assert CATALOGUE.available[examples.candidates].all()
    first, following = SHOP.visits(), next_visits(SHOP)
    baskets = {
        (int(SHOP.user[first[v]]), frozenset(SHOP.product[first[v] : first[v + 1]].tolist()))
        for v in range(len(following))
    }
    for user, candidates, labels in zip(
        examples.user, examples.candidates, examples.labels, strict=True
    ):
        bought = set(candidates[labels == 1].tolist())
        assert any(u == user and bought <= basket for u, basket in baskets)


def test_next_visits_are_the_same_shoppers() -> None:
    first, following = SHOP.visits()[:-1], next_visits(SHOP)
    for visit, after in enumerate(following.tolist()):
        rest = [
            v
            for v in range(visit + 1, len(first))
            if SHOP.user[first[v]] == SHOP.user[first[visit]]
        ]
        assert after == (rest[0] if rest else -1)


@pytest.mark.parametrize(
    "config", [CONFIG, PPRMConfig(**{**PPRMConfig.paper().to_dict(), "text_dimensions": 16})]
)
def test_training_learns_and_the_same_seed_gives_the_same_model(config: PPRMConfig) -> None:
    examples = examples_of(200)
    losses: list[float] = []
    models = [
        fit(config, examples, CATALOGUE, USERS, 5, lambda _, __, loss: losses.append(loss))
        for _ in range(2)
    ]
    half = len(losses) // 2
    assert losses[:half] == losses[half:] and np.mean(losses[half - 10 : half]) < np.mean(
        losses[:5]
    )
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)


def test_a_small_shop_takes_as_many_steps_as_it_needs() -> None:
    steps: list[int] = []
    fit(
        replace(CONFIG, epochs=1),
        examples_of(40),
        CATALOGUE,
        USERS,
        0,
        lambda step, *_: steps.append(step),
    )
    assert LEAST_STEPS <= len(steps) < LEAST_STEPS + 10


def test_inputs_that_never_varied_get_no_say() -> None:
    examples = examples_of(200)
    model = fit(CONFIG, examples, CATALOGUE, USERS, 0)
    sentiment = CONFIG.text_dimensions + 6
    assert (
        not model.user_layer.weight[:, sentiment].any()
        and model.user_layer.weight[:, sentiment - 1].any()
    )


def test_the_published_network_is_the_published_network() -> None:
    paper = PPRMConfig.paper()
    assert (paper.loss, paper.learning_rate, paper.batch, paper.sequence) == (
        "mse",
        1e-3,
        16,
        False,
    )


def test_queries_are_at_most_so_many_a_shopper_and_month() -> None:
    chosen = protocol.queries(SHOP, CATALOGUE.available, COMPLETE_JOURNEY.splits)
    first = SHOP.visits()[:-1]
    for month, (begin, _, most) in COMPLETE_JOURNEY.splits.items():
        visits = [visit for visit, said in chosen.items() if said == month]
        users = SHOP.user[first[visits]]
        assert np.bincount(users).max() <= most and len(set(users.tolist())) > 15
        assert (SHOP.time[first[visits]] >= begin).all()


def test_evaluation_judges_every_query_and_finds_what_shoppers_repeat() -> None:
    examples = examples_of(400)
    model = fit(CONFIG, examples, CATALOGUE, USERS, 0)
    popularity = Popularity()
    scorer = Scorer(model, CATALOGUE, popularity, Encoder().encode, torch.device("cpu"))
    chosen = protocol.queries(SHOP, CATALOGUE.available, COMPLETE_JOURNEY.splits)
    others = [baselines.PopularityBaseline(7), PersonalTopFrequency()]
    for other in others:
        other.learn(SHOP, CATALOGUE, PERIOD[1])
    served = AsServed.of("PPRM as served", scorer, SHOP, set(chosen))
    outcome = protocol.run(
        SHOP,
        CATALOGUE,
        popularity,
        [AtVisit("PPRM", scorer), served, *others],
        COMPLETE_JOURNEY.splits,
    )
    results = report.results(outcome, "PPRM", {})
    assert results["PPRM"]["queries"]["all"] == sum(month == "test" for month in chosen.values())
    ndcg = {name: found["all"]["ndcg_at_10"] for name, found in results.items()}
    assert ndcg["popularity 7 d"] < ndcg[others[1].name]
    assert ndcg["popularity 7 d"] < ndcg["PPRM"] <= 1
