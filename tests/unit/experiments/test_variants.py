"""Variants of the model and the other questions, on the small shop: each is what its name says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pprm.catalogue.popularity import Popularity
from pprm.core.events import Interaction, Kind, Position
from pprm.data import plan
from pprm.data.complete_journey import PLAN as COMPLETE_JOURNEY
from pprm.data.plan import Split
from pprm.data.replay import Visit, replay
from pprm.data.visits import choose_visits
from pprm.encoders import word2vec
from pprm.encoders.averaged import words
from pprm.evaluation import protocol, questions, report
from pprm.evaluation.contenders import AtVisit
from pprm.experiments import variants
from pprm.experiments.variants import VariantSetup
from pprm.ranking import slow_tables
from pprm.ranking.candidate_features import COLUMNS, RETRIEVAL
from pprm.retrieval.model import PPRMConfig
from pprm.serving.scorer import Scorer
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from pprm.training import ranking_training, training_set
from pprm.training.fit import LEAST_STEPS, fit
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

SHOP = dataset()
CONFIG = PPRMConfig(text_dimensions=16, projected=8, product=8, hidden=(16, 8), epochs=1, batch=16)
UNTIL = BEGIN + 150 * DAY
SPLITS = {
    "validation": Split(UNTIL, UNTIL + 20 * DAY, 1),
    "test": Split(UNTIL + 20 * DAY, UNTIL + 50 * DAY, 2),
}
encode = Encoder().encode


@pytest.fixture
def learned() -> tuple[Scorer, training_set.TrainingSet]:
    catalogue = make_catalogue(SHOP, Encoder())  # type: ignore[arg-type]
    visits = choose_visits(SHOP, catalogue, (BEGIN + 60 * DAY, UNTIL), 0)
    examples = training_set.build(SHOP, catalogue, visits[:200], UNTIL, 0)
    model = fit(CONFIG, examples, catalogue, encode([SHOP.profile(user) for user in SHOP.users]), 0)
    scorer = Scorer(model, catalogue, Popularity(), encode, torch.device("cpu"))
    scorer.tables = slow_tables.learn(SHOP, catalogue, UNTIL)
    return scorer, examples


def test_every_variant_of_retrieval_is_judged(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    scorer, examples = learned
    texts = [product.to_catalogue().text for product in SHOP.products]
    bench = VariantSetup(
        CONFIG,
        examples,
        scorer.catalogue,
        scorer.popularity,
        [SHOP.profile(u) for u in SHOP.users],
        texts,
        encode,
        0,
    )
    contenders, seconds = variants.of_retrieval(
        bench, {"other": lambda texts: encode(texts)[:, :8]}
    )
    outcome = protocol.run(
        SHOP, scorer.catalogue, scorer.popularity, [AtVisit("PPRM", scorer), *contenders], SPLITS
    )
    found = report.results(outcome, "PPRM", seconds)
    assert {
        f"first stage, {name}"
        for name in ("no interaction sequence", "5% of the training data", "texts by other")
    } < set(found)
    assert all(0 <= figures["all"]["ndcg_at_10"] <= 1 for figures in found.values())
    sequence = found["PPRM"]["all"]["ndcg_at_10"]
    assert sequence > found["first stage, no interaction sequence"]["all"]["ndcg_at_10"]


def test_a_share_of_the_examples_is_a_share_of_them(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    _, examples = learned
    order = np.arange(len(examples.user))[::-1]
    some = variants.part(examples, order, 0.1)
    assert len(some.user) == len(examples.user) // 10 and some.user[0] == examples.user[-1]


def test_a_group_that_is_taken_away_has_no_say(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    scorer, _ = learned
    visits = choose_visits(SHOP, scorer.catalogue, (BEGIN + 100 * DAY, UNTIL), 0)
    examples = ranking_training.build(SHOP, scorer, {UNTIL: scorer.tables}, visits[:60], UNTIL, 0)
    network = ranking_training.fit(examples, UNTIL, 0, without=COLUMNS["pattern"], members=1)
    inputs = torch.from_numpy(examples.features[:50].astype(np.float32))
    changed = inputs.clone()
    changed[:, COLUMNS["pattern"]] += 5
    assert torch.equal(network(inputs), network(changed))
    changed[:, COLUMNS[RETRIEVAL.name]] += 5
    assert not torch.equal(network(inputs), network(changed))
    contenders, _ = variants.of_ranking(scorer, examples, UNTIL, 0)
    names = {contender.name for contender in contenders}
    assert {f"second stage, without {group}" for group in ("nothing", "pattern")} < names
    assert "second stage, without browse" not in names, "nobody browses here"


def test_ranking_learns_the_same_from_the_same_seed(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    scorer, _ = learned
    visits = choose_visits(SHOP, scorer.catalogue, (BEGIN + 100 * DAY, UNTIL), 0)
    examples = ranking_training.build(SHOP, scorer, {UNTIL: scorer.tables}, visits[:60], UNTIL, 0)
    assert examples.bought.any() and (examples.offsets >= 0).all()
    losses: list[float] = []
    one, other = (
        ranking_training.fit(examples, UNTIL, 4, lambda _, __, loss: losses.append(loss))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert len(losses) >= 2 * LEAST_STEPS  # of a small shop, too


def test_ranking_learns_nothing_from_later_visits_and_large_ones_count_for_less(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    scorer, _ = learned
    visits = choose_visits(SHOP, scorer.catalogue, (BEGIN + 100 * DAY, UNTIL), 0)
    examples = ranking_training.build(SHOP, scorer, {UNTIL: scorer.tables}, visits[:60], UNTIL, 0)
    middle = int(np.median(examples.bought_at))
    later = examples.bought_at >= middle
    changed = replace(
        examples, features=np.where(later[:, None], 9, examples.features).astype(np.float16)
    )
    one, other = (ranking_training.fit(data, middle, 4, members=1) for data in (examples, changed))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    starts = np.flatnonzero(np.r_[True, np.diff(examples.bought_at) != 0, True])
    one_visit = slice(starts[0], starts[1])
    bought = examples.bought[one_visit].sum()
    assert np.allclose(examples.weights[one_visit], bought**-0.5)
    heavier = replace(
        examples, weights=np.where(examples.bought, examples.weights, 0).astype(np.float32)
    )
    other = ranking_training.fit(heavier, UNTIL, 4, members=1)
    one = ranking_training.fit(examples, UNTIL, 4, members=1)
    assert not torch.equal(one.first.weight, other.first.weight)


def test_tables_that_serve_a_visit_have_seen_nothing_of_it() -> None:
    tables = {10: "a", 20: "b", 30: "c"}
    serve = [ranking_training.tables_for(tables, now) for now in (5, 10, 19, 20, 99)]  # type: ignore[arg-type]
    assert serve == ["a", "a", "a", "b", "c"]


def test_frozen_states_do_not_move_after_the_moment(
    learned: tuple[Scorer, training_set.TrainingSet],
) -> None:
    scorer, _ = learned
    moment, seen = BEGIN + 50 * DAY, list[Visit]()
    contender = questions.Frozen("frozen", scorer, moment)
    for visit in replay(SHOP, scorer.catalogue, scorer.popularity, BEGIN + 60 * DAY):
        contender.add(visit)
        seen.append(visit)
    for user, state in contender._states.items():
        last = [visit.after for visit in seen if visit.user == user and visit.now < moment][-1]
        assert state == last


def test_unseen_products_are_ranked_among_themselves() -> None:
    shop = dataset()
    begin = COMPLETE_JOURNEY.until
    early = shop.time < begin
    shop.product[early & (shop.product < 5)] = 7  # five products that nobody bought before
    catalogue = make_catalogue(shop, Encoder())  # type: ignore[arg-type]
    outcome = questions.unseen(
        shop, catalogue, COMPLETE_JOURNEY,
        lambda new, popularity: Scorer(_untrained(), new, popularity, encode, torch.device("cpu")),
    )  # fmt: skip
    assert len(outcome.candidates) >= 3 and set(outcome.candidates.tolist()) <= {0, 1, 2, 3, 4}
    assert len(outcome.visits["test"].user) > 20 and set(report.results(outcome, "PPRM", {})) > {
        "PPRM"
    }


def _untrained() -> "torch.nn.Module":
    from pprm.retrieval.model import PPRM

    torch.manual_seed(0)
    return PPRM(CONFIG)


def test_word_vectors_place_words_of_the_same_company_together() -> None:
    rng = np.random.default_rng(0)
    food, car = ["bread", "loaf", "rolls", "white", "rye"], ["oil", "motor", "filter", "wax", "car"]
    texts = [" ".join(rng.permutation(group)) for group in (food, car) for _ in range(100)]
    made = word2vec.learn(texts, seed=1).encode
    bread, loaf, oil, nothing = made(["bread", "loaf", "oil", ""])

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(bread, loaf) > cosine(bread, oil) and not nothing.any()
    assert np.array_equal(word2vec.learn(texts, seed=1).encode(["bread"])[0], bread)
    assert words("Frozen-Pizza, 12 oz") == ["frozen", "pizza", "12", "oz"]


def test_looks_are_hidden() -> None:
    hashes = make_catalogue(SHOP, Encoder()).hashes.tolist()  # type: ignore[arg-type]
    acts = [
        Interaction(Position(0, 0, 0), Kind.PURCHASE, hashes[3], BEGIN, 1),
        Interaction(Position(1, 0, 0), Kind.VIEW, hashes[5], BEGIN + 10),
        Interaction(Position(1, 0, 1), Kind.VIEW, hashes[4], BEGIN + 20),
    ]
    state = fold(UserState(), acts).state
    visit = Visit(0, 0, BEGIN + 30, np.zeros(0, np.int32), state, state)
    hidden = questions.without_looks(visit)
    assert len(hidden.looked_at()[0]) == 0 and hidden.interactions()["product"].tolist() == [
        hashes[3]
    ]
    assert hidden.purchases == state.purchases and len(state.looked_at()[0]) == 2


def test_a_plan_never_learns_from_what_it_judges() -> None:
    made = plan.of(SHOP)
    first, last = int(SHOP.time[0]), int(SHOP.time[-1])
    assert (
        first
        < made.begin
        < made.chosen
        == made.validation.begin
        < made.validation.end
        == made.until
        == made.test.begin
    )
    assert (
        made.test.end == last + 1
        and made.cuts[0] == made.begin
        and made.cuts[-2:] == (made.chosen, made.until)
    )
    assert plan.of(replace(SHOP, plan=COMPLETE_JOURNEY)) is COMPLETE_JOURNEY
