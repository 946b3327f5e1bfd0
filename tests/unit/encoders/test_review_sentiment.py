"""What the sentiment of reviews is worth, on files of Yelp's format.

Yelp's own may not be part of this project.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from pprm.catalogue.popularity import Popularity
from pprm.core import progress
from pprm.core.events import Kind
from pprm.data.replay import replay
from pprm.data.source import Source, read
from pprm.data.visits import choose_visits
from pprm.evaluation import protocol, questions, report
from pprm.evaluation.contenders import AtVisit, rank
from pprm.experiments import variants
from pprm.experiments.variants import SENTIMENT, VariantSetup
from pprm.retrieval.features import scalars
from pprm.retrieval.model import PPRMConfig
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import Scorer
from pprm.training import train, training_set
from pprm.training.fit import fit
from tests.unit.encoders.test_product_vectors import Texts
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset

CONFIG = PPRMConfig(text_dimensions=16, projected=8, product=8, hidden=(16, 8), epochs=4, batch=16)
PLACES, GUESTS, REVIEWS = 40, 25, 500
torch.set_num_threads(1)  # small matrices on a machine that others use, too


def yelp(directory: Path) -> tuple[Path, Path]:
    """Every other guest is pleased with all, and goes anywhere.

    The others with nothing, and go where they know.
    """
    rng = np.random.default_rng(1)
    business, review = (
        directory / f"yelp_academic_dataset_{name}.json" for name in ("business", "review")
    )
    places = [
        {"business_id": f"b{i}", "name": f"place {i % 7}", "city": "Tucson", "state": "AZ",
        "is_open": 1,
         "attributes": {"WiFi": "u'free'"}, "categories": f"Food, kind {i % 5}", "hours": None}
        for i in range(PLACES)
    ]  # fmt: skip
    business.write_text("".join(json.dumps(place) + "\n" for place in places))
    lines = []
    for time in np.sort(rng.choice(300 * DAY, REVIEWS, replace=False)) + BEGIN:
        guest = int(rng.integers(GUESTS))
        place = int(rng.integers(PLACES) if guest % 2 else rng.integers(3))
        stars, said = (5.0, "lovely, great food") if guest % 2 else (1.0, "awful, bad and rude")
        date = datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(
            {
                "user_id": f"u{guest}",
                "business_id": f"b{place}",
                "stars": stars,
                "text": said,
                "date": date,
            }
        )
    review.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return business, review


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> train.TrainingContext:
    files = yelp(tmp_path_factory.mktemp("yelp"))
    bars = progress.ProgressLines(lambda line: None)
    return train.make_context(bars, read(Source("yelp", files)), Texts(None, 16), 0)


@pytest.fixture(scope="module")
def examples(shop: train.TrainingContext) -> training_set.TrainingSet:
    return train.retrieval_examples(shop)


@pytest.fixture(scope="module")
def model(shop: train.TrainingContext, examples: training_set.TrainingSet) -> Artifact:
    return Artifact(train.learn_retrieval(shop, CONFIG, examples), "small", "1", "", {}, {})


def test_evaluation_says_what_review_sentiment_is_worth(
    shop: train.TrainingContext, model: Artifact
) -> None:
    assert model.model.user_layer.weight[:, CONFIG.text_dimensions + SENTIMENT].abs().sum() > 0
    found, _ = train.judge(shop, model)
    hidden = found["PPRM, review sentiment hidden"]
    assert hidden["queries"] == found["PPRM"]["queries"] and hidden["queries"]["all"] > 20
    assert hidden["difference"]["all"]["se"] > 0, "some lists are others"
    assert "looked at last" not in found and "PPRM, looks hidden" not in found, (
        "nobody browses at Yelp"
    )
    assert "PPRM, review sentiment hidden" in report.markdown(found)


def test_nothing_but_the_sentiment_is_hidden(shop: train.TrainingContext, model: Artifact) -> None:
    popularity = Popularity()
    scorer = model.scorer(shop.catalogue, popularity, shop.texts.encode, torch.device("cpu"))
    changed = 0
    for visit in replay(shop.data, shop.catalogue, popularity, BEGIN + 60 * DAY):
        seen, known = questions.without_sentiment(visit), scalars(visit.before, visit.now)
        hidden = scalars(seen, visit.now)
        assert hidden[SENTIMENT] == 0 and np.array_equal(
            np.delete(hidden, SENTIMENT), np.delete(known, SENTIMENT)
        )
        assert seen.sequence == visit.before.sequence and (seen.newest, seen.again) == (
            visit.before.newest,
            visit.before.again,
        )
        lists = [rank(scorer, state, visit.now) for state in (visit.before, seen)]
        assert np.array_equal(*lists) == (known[SENTIMENT] == 0)
        changed += known[SENTIMENT] != 0
    assert changed > 50


def test_retrieval_that_learned_without_sentiment_does_not_look_at_it(
    shop: train.TrainingContext, examples: training_set.TrainingSet
) -> None:
    profiles = [shop.data.profile(user) for user in shop.data.users]
    texts = [product.to_catalogue().text for product in shop.data.products]
    bench = VariantSetup(
        replace(CONFIG, epochs=1),
        examples,
        shop.catalogue,
        Popularity(),
        profiles,
        texts,
        shop.texts.encode,
        0,
    )
    contenders, _ = variants.of_retrieval(bench, {})
    (unread,) = (one for one in contenders if one.name == "first stage, no review sentiment")
    assert isinstance(unread, AtVisit)
    assert not unread.scorer.model.user_layer.weight[:, CONFIG.text_dimensions + SENTIMENT].any()
    outcome = protocol.run(shop.data, shop.catalogue, bench.popularity, [unread], shop.plan.splits)
    assert len(outcome.judged["test"][unread.name].all) > 20


def test_shops_without_reviews_have_no_such_rows() -> None:
    groceries = dataset()
    catalogue = train.make_catalogue(groceries, Encoder())
    visits = choose_visits(groceries, catalogue, (BEGIN + 60 * DAY, BEGIN + 150 * DAY), 0)
    made = training_set.build(groceries, catalogue, visits[:50], BEGIN + 150 * DAY, 0)
    model = fit(CONFIG, made, catalogue, Encoder().encode(groceries.users), 0)
    scorer = Scorer(model, catalogue, Popularity(), Encoder().encode, torch.device("cpu"))
    assert questions.of_events(scorer, groceries) == []
    groceries = dataset()
    kinds = np.zeros(len(groceries.user), np.uint8)
    kinds[::3] = Kind.VIEW
    names = [one.name for one in questions.of_events(scorer, replace(groceries, kind=kinds))]
    assert names == ["PPRM, looks hidden"]
