"""Products come with vectors of their own.

In a record or a file, of the texts' dimensions or of others.
"""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pprm.catalogue.catalogue import Product
from pprm.catalogue.popularity import Popularity
from pprm.core import progress
from pprm.data import table
from pprm.data.source import Source, read
from pprm.data.vectors import added
from pprm.data.visits import choose_visits
from pprm.encoders import product_vectors
from pprm.encoders.text_encoder import TextEncoder, text_hash
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import Scorer
from pprm.state.user_state import UserState
from pprm.training import train, training_set
from pprm.training.fit import fit
from pprm.training.train import make_catalogue
from tests.unit.small_shop import BEGIN, DAY, Encoder, dataset
from worker.cli import backfill
from worker.pipeline import codec, recommender
from worker.pipeline.recommender import Recommender, Request
from worker.settings import Model

IMAGE = 5
"""Dimensions of vectors made elsewhere; texts have 16."""


def product(product_id: str, text: str, vector: list[float] | None = None) -> Product:
    made = None if vector is None else np.array(vector, np.float32)
    return Product(product_id, text, "t", "c", "m", vector=made)


def test_a_products_own_vector_is_read_instead_of_its_text() -> None:
    products = [product("a", "x"), product("b", "x", [1.0] * 16)]
    own, encoder = product_vectors.vectors(products, 16, Encoder()), Encoder()
    assert np.array_equal(own[0], encoder.encode(["x"])[0]) and own[1].tolist() == [1.0] * 16
    assert product_vectors.texts(products, 16, Encoder()) == ["x", ""], (
        "BERT has nothing to read of the second"
    )


def test_a_text_that_would_not_fit_is_not_read() -> None:
    products = [product("a", "x"), product("b", "x", [1.0] * IMAGE)]
    assert product_vectors.vectors(products, IMAGE, Encoder()).tolist() == [
        [0.0] * IMAGE,
        [1.0] * IMAGE,
    ]
    assert product_vectors.texts(products, IMAGE, Encoder()) == ["", ""]


def change(worker: Recommender, **fields: Any) -> Any:
    """Send a product through the codec into the catalogue, as the worker does."""
    value = {"title": "a title", "categories": ["FOOD", "BREAD"], "brand": "B"} | fields
    record = SimpleNamespace(
        topic="products", partition=0, offset=0, timestamp=0, key=value["product_id"].encode(),
        value=json.dumps(value).encode(), headers=(),
    )  # fmt: skip
    decoded = codec.decode_product(record, worker.catalogue.dimensions)
    if not isinstance(decoded, codec.Invalid):
        changes = dict([decoded])
        worker.change(changes)
        return worker.texts(changes)
    return decoded


def test_a_record_with_a_vector_is_scored_by_it() -> None:
    worker = recommender.load(Model(device="cpu"), 10)
    bread, wine = (
        np.random.default_rng(seed).normal(size=384).astype(np.float16) for seed in (1, 2)
    )
    worker.encoder.vectors |= {
        text_hash("a title. FOOD. BREAD"): bread,
        text_hash("a title. red. FOOD. BREAD"): wine,
    }
    assert change(worker, product_id="bread") == ["a title. FOOD. BREAD"]
    change(worker, product_id="wine", description="red")
    assert change(worker, product_id="picture", vector=[float(value) for value in wine]) == [""]

    scores = worker.scorer.score([UserState()], [BEGIN])[0].tolist()
    ids = [worker.catalogue.ids[row] for row in worker.scorer.candidates]
    score = dict(zip(ids, scores, strict=True))
    assert (
        abs(score["picture"] - score["wine"]) < 1e-5 < 1e-3 < abs(score["picture"] - score["bread"])
    )
    assert len(worker.answer([], [Request(UserState(), BEGIN)])[0].items) == 3


def test_a_vector_that_does_not_fit_the_model_is_refused_with_a_reason() -> None:
    worker = recommender.load(Model(device="cpu"), 10)
    refused = change(worker, product_id="p", vector=[0.5] * 3)
    assert (refused.reason, refused.stage) == ("vector", "validate")
    assert refused.detail == "the vector has 3 numbers, the model reads vectors of 384"
    for wrong in ([], [0.5] * 4097, [float("nan")] * 384, [1e30] * 384, ["1"] * 384, "1"):
        assert change(worker, product_id="p", vector=wrong).reason == "schema"
    assert not len(worker.catalogue)


def test_a_vector_that_is_far_too_long_is_read_as_one_of_the_models_own_length() -> None:
    worker = recommender.load(Model(device="cpu"), 10)
    longest = float(worker.scorer.model.longest)
    texts = np.stack([vector for vector in worker.encoder.vectors.values()]).astype(np.float32)
    assert np.linalg.norm(texts, axis=1).max() < longest < 20, "no text is shortened"
    alternating = np.resize([1.0, -1.0], 384)
    for name, vector in (
        ("long", 1000 * alternating),
        ("longer", 1e6 * alternating),
        ("right", alternating),
    ):
        change(
            worker,
            product_id=name,
            vector=(vector if name != "right" else vector * longest / 384**0.5).tolist(),
        )
    assert len(worker.answer([], [Request(UserState(), BEGIN)])[0].items) == 3
    a, b, c = worker.scorer.score([UserState()], [BEGIN])[0].tolist()
    assert abs(a - b) < 1e-3 and abs(b - c) < 1e-3 and not worker.newly_not_finite()


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_one_giant_among_the_vectors_leaves_what_is_learned_of_the_others(scale: float) -> None:
    shop, rng = dataset(), np.random.default_rng(0)
    made = rng.normal(size=(len(shop.products), IMAGE)).astype(np.float32) * scale
    made[0] *= 1e5
    with_vectors = replace(
        shop, products=[p._replace(vector=v) for p, v in zip(shop.products, made, strict=True)]
    )
    catalogue = make_catalogue(with_vectors, Encoder())
    config = PPRMConfig(
        text_dimensions=16, product_dimensions=IMAGE, projected=3, product=8, hidden=(8,), epochs=1
    )
    examples = training_set.build(shop, catalogue, np.arange(300, 340), BEGIN + 150 * DAY, 0)
    model = fit(config, examples, catalogue, Encoder().encode(shop.users), 0)
    usual = float(np.median(np.linalg.norm(made, axis=1)))
    assert usual < float(model.longest) < 10 * usual
    spread = (torch.from_numpy(made[1:]) @ model.text_axes).std(0)
    assert (spread > 0.3).all(), "the axes show the others, not the giant"


def images(directory: Path, dimensions: int = IMAGE) -> Path:
    """A file with vectors of all products of the small shop but the last."""
    ids = np.array([product.product_id for product in dataset().products[:-1]])
    vectors = np.random.default_rng(3).normal(size=(len(ids), dimensions))
    np.savez(directory / "images.npz", product_id=ids, vector=vectors)
    return directory / "images.npz"


def shop_tables(directory: Path) -> tuple[Path, Path]:
    shop = dataset()
    events, products = directory / "events.csv", directory / "products.csv"
    products.write_text(
        "product_id,title\n" + "".join(f"{p.product_id},{p.title}\n" for p in shop.products)
    )
    rows = zip(shop.user.tolist(), shop.product.tolist(), shop.time.tolist(), strict=True)
    events.write_text(
        "user_id,product_id,occurred_at\n" + "".join(f"u{u},p{p},{t}\n" for u, p, t in rows)
    )
    return events, products


class Texts(TextEncoder):
    """Reads without BERT."""

    def _forward(self, texts: list[str]) -> Any:
        return Encoder().encode(texts)


def workshop(
    directory: Path, vectors: Path | None, known: PPRMConfig | None = None
) -> train.TrainingContext:
    bars = progress.ProgressLines(lambda line: None)
    data = read(Source("table", shop_tables(directory), vectors))
    return train.make_context(bars, data, Texts(None, 16), 0, known)


def test_a_file_of_vectors_is_what_a_new_model_reads(tmp_path: Path) -> None:
    shop = workshop(tmp_path, images(tmp_path))
    assert (shop.catalogue.dimensions, shop.product_dimensions) == (IMAGE, IMAGE)
    assert shop.catalogue.vectors[0].any() and not shop.catalogue.vectors[-1].any(), (
        "the last one has none"
    )
    config = PPRMConfig(
        text_dimensions=16, product_dimensions=shop.product_dimensions, projected=8, product=8,
        hidden=(16, 8),
        epochs=1, batch=16,
    )  # fmt: skip
    visits = choose_visits(shop.data, shop.catalogue, (BEGIN + 60 * DAY, BEGIN + 150 * DAY), 0)
    examples = training_set.build(shop.data, shop.catalogue, visits[:100], BEGIN + 150 * DAY, 0)
    model = fit(config, examples, shop.catalogue, Encoder().encode(shop.data.users), 0)
    assert model.text_axes.shape == (IMAGE, 8) and not model.text_axes[:, IMAGE:].any()

    artifact.save(tmp_path / "model", Artifact(model, "images", "1", "", {}, {}), "")
    loaded = artifact.load(tmp_path / "model")
    assert loaded.model.config == config and not loaded.text_vectors
    scorer = Scorer(
        loaded.model, shop.catalogue, Popularity(), Encoder().encode, torch.device("cpu")
    )
    before = scorer.score([UserState()], [BEGIN])[0]
    assert torch.isfinite(before).all()
    row = int(scorer.candidates[0])
    changed = replace(shop.data.products[row].to_catalogue(), vector=np.full(IMAGE, 9, np.float32))
    shop.catalogue.put([changed], product_vectors.vectors([changed], IMAGE, Encoder()))
    moved = (scorer.score([UserState()], [BEGIN])[0] - before).abs()
    assert moved[0] > 1e-3 > moved[1:].max()


def test_vectors_of_the_texts_dimensions_stand_beside_texts(tmp_path: Path) -> None:
    shop = workshop(tmp_path, images(tmp_path, 16), PPRMConfig(text_dimensions=16))
    assert shop.product_dimensions == 0, "any model of these dimensions will do"
    assert np.allclose(
        shop.catalogue.vectors[-1], shop.texts.encode([shop.data.products[-1].title])[0]
    )


@pytest.mark.parametrize("made", [True, False])
def test_vectors_that_a_known_model_does_not_read_are_refused(tmp_path: Path, made: bool) -> None:
    known = PPRMConfig(text_dimensions=16, product_dimensions=0 if made else IMAGE)
    with pytest.raises(
        table.TableError, match=r"vectors of .* dimensions, the model reads .*--vectors"
    ):
        workshop(tmp_path, images(tmp_path) if made else None, known)


def test_a_file_of_another_shop_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", product_id=np.array(["x"]), vector=np.ones((1, 3)))
    with pytest.raises(table.TableError, match="none of its 1 vectors is of one of the products"):
        read(Source("table", shop_tables(tmp_path), tmp_path / "other.npz"))


def test_a_backfill_publishes_the_vectors(tmp_path: Path) -> None:
    rows = table.read(*shop_tables(tmp_path))
    path = images(tmp_path, 4096)
    past = backfill.prepare(replace(rows, products=added(rows.products, path)), tmp_path)
    family, fields = next(past.messages())
    value = json.dumps(fields).encode()
    assert family == "products" and len(value) < codec.MAX_VALUE_BYTES
    record = SimpleNamespace(key=fields["product_id"].encode(), value=value, headers=())
    _, read_again = codec.decode_product(record, 4096)  # type: ignore[misc]
    assert read_again and np.array_equal(read_again.vector, table.load_vectors(path)["p0"])


def test_the_published_model_reads_vectors_too() -> None:
    shop = dataset()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(shop.products), IMAGE)).astype(np.float32)
    with_vectors = replace(
        shop, products=[p._replace(vector=v) for p, v in zip(shop.products, vectors, strict=True)]
    )
    catalogue = make_catalogue(with_vectors, Encoder())
    model = PPRM(replace(PPRMConfig.paper(), text_dimensions=16, product_dimensions=IMAGE))
    scorer = Scorer(model, catalogue, Popularity(), Encoder().encode, torch.device("cpu"))
    assert scorer.score([UserState()], [BEGIN]).shape == (1, int(catalogue.available.sum()))
