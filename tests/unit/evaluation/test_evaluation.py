"""The evaluation's figures by another path.

Scikit-learn, brute force, and contenders whose worth is known.
"""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, ndcg_score, precision_score, recall_score

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.events import Kind
from pprm.data.complete_journey import PLAN as COMPLETE_JOURNEY
from pprm.data.plan import Split
from pprm.data.replay import Visit
from pprm.data.source import BUNDLED
from pprm.evaluation import protocol, report, verdict
from pprm.evaluation.protocol import Judged, Question
from pprm.retrieval.model import PPRMConfig
from pprm.training import model_card
from tests.unit.small_shop import Encoder, dataset

SHOP = dataset()


def catalogue_of() -> Catalogue:
    made = Catalogue(Encoder.dimensions)
    products = [product.to_catalogue() for product in SHOP.products]
    made.put(products, Encoder().encode([product.text for product in products]))
    return made


class Oracle:
    """Knows what will be bought."""

    name = "oracle"

    def learned_bytes(self) -> int:
        return 3_000_000

    def add(self, visit: Visit) -> None:
        pass

    def scores(self, visit: Visit) -> np.ndarray:
        out = np.zeros(len(SHOP.products))
        out[visit.products] = 1
        return out


class Chance(Oracle):
    """Knows nothing."""

    name = "chance"

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def scores(self, visit: Visit) -> np.ndarray:
        return self.rng.random(len(SHOP.products))


@pytest.fixture(scope="module")
def outcome() -> protocol.Outcome:
    return protocol.run(
        SHOP, catalogue_of(), Popularity(), [Oracle(), Chance()], COMPLETE_JOURNEY.splits
    )


@pytest.mark.parametrize("seed", range(5))
def test_rankings_are_judged_as_scikit_learn_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, n = rng.permutation(40).astype(float), 40
    truth, seen = set(rng.choice(n, 7, replace=False).tolist()), rng.random(n) < 0.3
    into = Judged()
    Question(truth, seen, rng.choice(n, 7)).judge(scores, into)
    relevant = np.array([[i in truth for i in range(n)]], float)
    assert into.all[0][0] == pytest.approx(ndcg_score(relevant, scores[None], k=10))
    first = np.argsort(-scores)[:10]
    assert into.all[0][1:] == (
        pytest.approx(len(truth & set(first.tolist())) / 7),
        float(bool(truth & set(first.tolist()))),
    )
    fresh = ~seen
    wanted = ndcg_score(relevant[:, fresh], scores[None, fresh], k=10)
    assert into.new[0][0] == pytest.approx(wanted)
    assert into.repeats[0] == pytest.approx(seen[first].mean())


def test_who_knows_the_future_gets_everything_and_chance_what_chance_gives(
    outcome: protocol.Outcome,
) -> None:
    found = report.results(outcome, "oracle", {"oracle": 1.0})
    assert found["oracle"]["megabytes"] == 3.0
    assert found["oracle"]["all"] == {"ndcg_at_10": 1.0, "recall_at_10": 1.0, "hr_at_10": 1.0}
    assert found["oracle"]["binary"] == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0}
    assert found["chance"]["all"]["recall_at_10"] == pytest.approx(
        10 / len(outcome.candidates), abs=0.04
    )
    assert (
        found["oracle"]["difference"]["all"]["mean"] == 0
        and found["chance"]["difference"]["all"]["mean"] < -0.5
    )
    assert 0.9 < found["chance"]["lists"]["coverage"] <= 1
    weeks = found["oracle"]["by_week"].values()
    assert (
        sum(week["queries"] for week in weeks)
        == found["oracle"]["queries"]["all"]
        == len(outcome.visits["test"].user)
    )


def test_decisions_are_those_of_scikit_learn(outcome: protocol.Outcome) -> None:
    test, validation = (outcome.judged[split]["chance"] for split in ("test", "validation"))
    thresholds = np.unique([*validation.scores, np.inf])
    best = max(
        thresholds,
        key=lambda t: (accuracy_score(validation.labels, np.array(validation.scores) >= t), -t),
    )
    said = np.array(test.scores) >= best
    got = report.results(outcome, "oracle", {})["chance"]["binary"]
    assert got["accuracy"] == pytest.approx(accuracy_score(test.labels, said))
    assert got["precision"] == pytest.approx(precision_score(test.labels, said, zero_division=0))
    assert got["recall"] == pytest.approx(recall_score(test.labels, said))


def test_standard_errors_are_clustered_by_shopper() -> None:
    rng = np.random.default_rng(3)
    user, difference = rng.integers(0, 30, 400), rng.normal(size=400)
    difference += rng.normal(size=30)[user]
    mean = difference.mean()
    by_hand = math.sqrt(sum(sum(difference[user == u] - mean) ** 2 for u in range(30))) / 400
    got = report.paired(np.r_[difference, np.nan], np.r_[user, 5])
    assert got == {"mean": pytest.approx(mean), "se": pytest.approx(by_hand)}
    assert got["se"] > 1.5 * difference.std() / 20, (
        "visits of one shopper are no independent witnesses"
    )


def test_queries_do_not_depend_on_what_comes_later(outcome: protocol.Outcome) -> None:
    chosen = protocol.queries(SHOP, catalogue_of().available, COMPLETE_JOURNEY.splits)
    first = SHOP.visits()[:-1]
    for name, split in COMPLETE_JOURNEY.splits.items():
        visits = [visit for visit, said in chosen.items() if said == name]
        assert np.bincount(SHOP.user[first[visits]]).max() <= split.most
        assert (
            (SHOP.time[first[visits]] >= split.begin) & (SHOP.time[first[visits]] < split.end)
        ).all()


def test_figures_become_tables_and_a_picture(outcome: protocol.Outcome, tmp_path: Path) -> None:
    found: dict[str, Any] = report.results(outcome, "oracle", {})
    assert report.markdown(found).count("\n") == 2 + len(found)
    assert report.table(found).row_count == len(found)
    report.plot(found, tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 5000


def test_the_card_is_written_from_the_figures(outcome: protocol.Outcome) -> None:
    found: dict[str, Any] = report.results(outcome, "oracle", {})
    found["PPRM"] = found["oracle"]
    found["training"] = {
        "validation": {part: found["oracle"][part] for part in ("all", "new")},
        "dataset": "small", "seed": 1, "visits": 2, "second_stage_candidates": 3,
        "fit_seconds": 4.0, "seconds": 5.0,
        "peak_memory_bytes": 2**30,
        "verdict": verdict.of(judged_as_pprm(outcome), "validation", ["chance"]),
        "test_verdict": verdict.of(judged_as_pprm(outcome), "test", ["chance"]),
        "shop": model_card.facts(SHOP),
    }  # fmt: skip
    card = model_card.write(PPRMConfig(), found)
    assert "| chance |" in card and "trained on small" in card and "1.0 GiB" in card
    assert "the best without a model, 'chance'" in card


def test_the_card_is_of_the_shop_that_was_learned_from() -> None:
    training = {"dataset": "table", "shop": model_card.facts(SHOP)}
    said = model_card._learned_from(training)
    assert f"{len(SHOP.users):,} shoppers and {len(SHOP.products):,} products" in said
    assert "looks, reviews" in said and "grocery" not in said
    looks = replace(SHOP, kind=np.full(len(SHOP.user), Kind.VIEW, np.uint8))
    said = model_card._learned_from({"dataset": "table", "shop": model_card.facts(looks)})
    assert f"{len(SHOP.user):,} view" in said and "purchases, reviews" in said
    assert "US grocery households" in model_card._learned_from(training | {"dataset": BUNDLED})


def judged_as_pprm(
    outcome: protocol.Outcome, model: str = "oracle", other: str = "chance"
) -> protocol.Outcome:
    """The same, the model being one of the contenders."""
    judged = {
        split: {"PPRM": found[model], "chance": found[other]}
        for split, found in outcome.judged.items()
    }
    return outcome._replace(judged=judged)


def test_a_model_that_beats_nobody_is_called_so(outcome: protocol.Outcome) -> None:
    good, bad = (
        verdict.of(judged_as_pprm(outcome, *who), "test", ["chance"]) | {"visits": verdict.FEWEST}
        for who in WHO
    )
    assert good["difference"]["mean"] > 0.5 and "is worth something" in verdict.words(good)
    assert bad["difference"]["mean"] < -0.5 and "DOES NOT BEAT" in verdict.words(bad)
    assert bad["ndcg_at_10"]["chance"] == 1.0 and "has 1.0000" in verdict.words(bad)
    unclear = good | {"difference": {"mean": 0.01, "se": 0.01}}
    assert "not clearly better" in verdict.words(unclear)


def test_of_few_visits_nothing_is_said_but_the_figures(outcome: protocol.Outcome) -> None:
    found = verdict.of(judged_as_pprm(outcome, *WHO[0]), "test", ["chance"])
    one = found | {"visits": 1, "difference": {"mean": 0.6, "se": 0.0}}
    text = verdict.words(one)
    assert text.startswith("Too few visits to tell") and "on 1 visit of the test" in text
    assert "worth something" not in text


def test_where_looking_at_the_last_is_always_right_the_answer_is_in_the_input(
    outcome: protocol.Outcome,
) -> None:
    leaks = verdict.of(judged_as_pprm(outcome, *WHO[1]), "test", ["chance"]) | {"visits": 30}
    assert "THE ANSWER IS IN THE INPUT: 'chance'" in verdict.words(leaks)
    honest = leaks | {"ndcg_at_10": {"PPRM": 1.0, "chance": 0.98}}
    assert "THE ANSWER" not in verdict.words(honest)


WHO = (("oracle", "chance"), ("chance", "oracle"))


def test_where_no_visit_could_be_judged_the_figures_are_none_not_zero() -> None:
    nothing = {"validation": Split(0, 1, 1), "test": COMPLETE_JOURNEY.test}
    outcome = protocol.run(SHOP, catalogue_of(), Popularity(), [Oracle(), Chance()], nothing)
    found = report.results(outcome, "oracle", {})
    assert found["oracle"]["binary"] == dict.fromkeys(("accuracy", "precision", "recall"))
    assert set(report.means(outcome.judged["validation"]["oracle"])["all"].values()) == {None}
    assert report.paired(np.zeros(0), np.zeros(0, int)) == {"mean": None, "se": None}
    assert " none |" in report.markdown(found)
    text = verdict.words(verdict.of(judged_as_pprm(outcome), "validation", ["chance"]))
    assert text.startswith("No visit of the validation could be judged")


def test_the_table_shows_recall_at_10(outcome: protocol.Outcome) -> None:
    shown, out = report.table(report.results(outcome, "oracle", {})), io.StringIO()
    assert [column.header for column in shown.columns][3] == "R@10"
    Console(file=out, width=140).print(shown)
    assert all(len(line) < 140 for line in out.getvalue().splitlines()) and "R@10" in out.getvalue()


def test_two_contenders_of_one_name_are_refused_before_hours_are_spent() -> None:
    with pytest.raises(ValueError, match="oracle"):
        protocol.run(
            SHOP, catalogue_of(), Popularity(), [Oracle(), Oracle()], COMPLETE_JOURNEY.splits
        )
