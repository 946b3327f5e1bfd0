"""Any small shop trains, or is told in a sentence why not.

Never another exception, and nothing after minutes.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from pprm.catalogue.popularity import Popularity
from pprm.core.events import Kind
from pprm.data.dataset import Dataset, ShopProduct
from pprm.data.plan import TooLittleData
from pprm.data.replay import latest
from pprm.data.source import Source
from pprm.encoders.text_encoder import TextEncoder
from pprm.serving import artifact
from pprm.serving.artifact import ArtifactError
from pprm.training import fit, train
from pprm.training.train import TrainingJob
from tests.unit.encoders import tiny_bert
from tests.unit.small_shop import BEGIN, DAY


class Texts(TextEncoder):
    """Reads without BERT."""

    def _forward(self, texts: list[str]) -> Any:
        return np.stack(
            [np.random.default_rng(len(text)).normal(size=self.dimensions) for text in texts]
        )


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Few steps, no BERT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "LEAST_STEPS", 3)
        patch.setattr(train, "TextEncoder", Texts)
        yield


def a_shop(
    seed: int,
    baskets: int,
    shoppers: int,
    products: int,
    available: int,
    largest: int,
    looks: float,
    seconds: int,
) -> Dataset:
    """Baskets of up to so many products at one of so many seconds, among looks at some."""
    rng = np.random.default_rng(seed)
    times = np.sort(BEGIN + rng.integers(0, seconds, baskets))
    rows = []
    for number, time in enumerate(times.tolist()):
        user = int(rng.integers(shoppers))
        if rng.random() < looks:
            rows.append((user, int(rng.integers(products)), -1, time, Kind.VIEW))
        else:
            bought = np.unique(rng.integers(products, size=rng.integers(1, largest + 1)))
            rows += [(user, product, number, time, Kind.PURCHASE) for product in bought.tolist()]
    user, product, basket, time, kind = (
        np.array(rows or np.zeros((0, 5))).reshape(-1, 5).T.astype(np.int64)
    )
    return Dataset(
        "drawn",
        [ShopProduct(f"p{i}", f"title {i % 3}", ["c"], "m", {},
        i < available) for i in range(products)],
        [f"u{i}" for i in range(shoppers)], [f"b{i}" for i in range(baskets)], {},
        user.astype(np.int32),
        product.astype(np.int32), basket.astype(np.int32), time, kind.astype(np.uint8),
    )  # fmt: skip


def trained(shop: Dataset, out: Path, **options: Any) -> str:
    """What became of it: an artifact that loads, or the sentence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "read", lambda source, progress: shop)
        try:
            train.run(TrainingJob(Source("table"), **options), out, Console(quiet=True))
        except TooLittleData as error:
            assert len(str(error)) > 40
            return str(error)
    artifact.load(out)
    return "trained"


SHOPS = st.tuples(
    st.integers(0, 99), st.integers(0, 160), st.integers(1, 60), st.integers(1, 130),
    st.integers(0, 130),
    st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1, 90, 3600, 300 * DAY]),
)  # fmt: skip


@settings(max_examples=12)
@given(drawn=SHOPS)
@example((0, 100, 100, 40, 40, 1, 0.0, 9 * DAY))  # hardly anybody comes back
@example((0, 100, 1, 1, 1, 1, 0.0, 9 * DAY))  # one shopper, one product
@example((0, 6, 3, 9, 9, 2, 0.0, 9 * DAY))
@example((0, 1, 1, 1, 1, 1, 0.0, 1))
@example((0, 200, 9, 30, 0, 2, 0.0, 9 * DAY))
@example((0, 200, 9, 30, 30, 2, 1.0, 9 * DAY))
@example((1, 150, 12, 120, 110, 4, 0.3, 90 * DAY))
def test_any_small_shop_trains_or_is_told_why_not(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Any, ...]
) -> None:
    trained(a_shop(*drawn), tmp_path_factory.mktemp("out") / "model")


def test_where_nobody_comes_back_retrieval_serves_alone(tmp_path: Path) -> None:
    shop = a_shop(0, 100, 100, 40, 40, 1, 0.0, 9 * DAY)
    alone = replace(shop, user=np.arange(len(shop.user), dtype=np.int32))
    assert trained(alone, tmp_path / "model") == "trained"
    assert artifact.load(tmp_path / "model").ranking_network is None


def test_the_verdict_is_in_the_figures_and_on_the_card(tmp_path: Path) -> None:
    assert (
        trained(a_shop(1, 160, 12, 60, 50, 4, 0.3, 90 * DAY), tmp_path / "model", visits=60)
        == "trained"
    )
    training = artifact.load(tmp_path / "model").metrics["training"]
    assert training["visits"] <= 60 and training["verdict"]["visits"] > 0
    assert (
        "looked at last" in training["verdict"]["ndcg_at_10"]
        and training["test_verdict"]["split"] == "test"
    )
    assert "without" in (tmp_path / "model" / "README.md").read_text()


def test_where_nothing_can_be_written_nothing_is_learned(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    file = tmp_path / "notes.txt"
    for out, said in (
        (tmp_path, "holds notes.txt"),
        (file, "is a file"),
        (file / "model", "may not be written"),
    ):
        with pytest.raises(ArtifactError, match=said):
            train.run(
                TrainingJob(Source("table", (tmp_path / "nowhere.csv",))), out, Console(quiet=True)
            )


def test_an_encoder_of_any_width_trains_and_serves(tmp_path: Path) -> None:
    encoder = tiny_bert.write(tmp_path / "bert", 768)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "TextEncoder", TextEncoder)
        shop = a_shop(1, 160, 12, 60, 50, 4, 0.3, 90 * DAY)
        assert trained(shop, tmp_path / "model", visits=60, encoder=encoder) == "trained"
    loaded = artifact.load(tmp_path / "model")
    assert loaded.model.config.text_dimensions == 768
    texts, popularity = loaded.encoder(encoder), Popularity()
    catalogue = train.make_catalogue(shop, texts)
    (state, *_) = latest(shop, catalogue, popularity).values()
    scorer = loaded.scorer(catalogue, popularity, texts.encode, torch.device("cpu"))
    (ranking,) = scorer.recommend([state], [state.active_at], 10)
    assert len(ranking.rows) == 10
