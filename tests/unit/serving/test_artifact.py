import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pprm
from pprm.encoders.text_encoder import identity, text_hash
from pprm.ranking.item_regression import SOURCES
from pprm.ranking.network import RankingNetwork
from pprm.ranking.slow_tables import SlowTables
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.serving import artifact
from pprm.serving.artifact import Artifact, ArtifactError
from tests.unit.encoders import tiny_bert
from worker.pipeline import recommender
from worker.settings import Model

CONFIG = PPRMConfig(text_dimensions=4, projected=2, product=3, hidden=(5, 4))


def tables() -> SlowTables:
    keys = np.arange(3, dtype=np.uint64)
    hazards = np.full((3, 14), -2.0, np.float32)
    weights = np.full((3, SOURCES), 0.5, np.float32)
    return SlowTables(
        keys,
        keys,
        hazards,
        hazards,
        hazards[:2],
        np.ones((3, 64), np.float32),
        weights.astype(np.int32),
        weights,
    )


@pytest.fixture(params=[False, True], ids=["", "ranking"])
def ranking(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    torch.manual_seed(2)
    return (RankingNetwork(), tables()) if request.param else ()


@pytest.fixture
def saved(tmp_path: Path, ranking: tuple[Any, ...]) -> Path:
    torch.manual_seed(1)
    vectors = {text_hash(text): np.full(4, i, np.float16) for i, text in enumerate(("a", "b"))}
    made = Artifact(PPRM(CONFIG), "pprm-s", "7", "", vectors, {"all": 1}, *ranking)
    artifact.save(tmp_path / "model", made, "# card\n")
    return tmp_path / "model"


def one(model: PPRM, version: str) -> Artifact:
    return Artifact(model, "pprm-s", version, "", {text_hash("a"): np.zeros(4)}, {})


def test_what_was_saved_is_loaded(saved: Path, ranking: tuple[Any, ...]) -> None:
    loaded = artifact.load(saved)
    torch.manual_seed(1)
    original = PPRM(CONFIG)
    assert (loaded.name, loaded.version, loaded.metrics, loaded.model.config) == (
        "pprm-s",
        "7",
        {"all": 1},
        CONFIG,
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.model.parameters(), original.parameters(), strict=True)
    )
    if ranking:
        assert loaded.ranking_network and loaded.tables
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                loaded.ranking_network.parameters(), ranking[0].parameters(), strict=True
            )
        )
        assert np.array_equal(loaded.tables.factors, ranking[1].factors)
    assert loaded.encoder(Path("/nowhere")).encode(["b", "a"]).tolist() == [[1.0] * 4, [0.0] * 4]


def test_the_hash_tells_artifacts_apart(saved: Path, tmp_path: Path) -> None:
    again = artifact.save(tmp_path / "other", one(PPRM(CONFIG), "8"), "")
    assert again == artifact.load(tmp_path / "other").sha256 != artifact.load(saved).sha256


@pytest.mark.parametrize("name", artifact.FILES)
def test_a_changed_file_is_refused_by_name(saved: Path, name: str) -> None:
    path = saved / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=name):
        artifact.load(saved)


@pytest.mark.parametrize("name", [*artifact.FILES, artifact.HASHES])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ArtifactError):
        artifact.load(saved)


def test_half_a_ranking_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "model"
    artifact.save(
        saved,
        Artifact(
            PPRM(CONFIG),
            "pprm-s",
            "7",
            "",
            {text_hash("a"): np.zeros(4)},
            {},
            RankingNetwork(),
            tables(),
        ),
        "",
    )
    sums = (saved / artifact.HASHES).read_text().splitlines(keepends=True)
    (saved / artifact.HASHES).write_text("".join(sums[:-1]))
    (saved / "tables.safetensors").unlink()
    with pytest.raises(ArtifactError, match="both or neither"):
        artifact.load(saved)


def test_a_file_too_many_is_refused(saved: Path) -> None:
    (saved / "model.pkl").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"model\.pkl"):
        artifact.load(saved)


def test_another_format_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"format": 99}))
    sums = (saved / artifact.HASHES).read_text().splitlines(keepends=True)
    fresh = f"{artifact._sha256(saved / 'config.json')}  config.json\n"
    (saved / artifact.HASHES).write_text("".join([fresh, *sums[1:]]))
    with pytest.raises(ArtifactError, match="format 99"):
        artifact.load(saved)


def rehash(saved: Path) -> None:
    names = [line.partition("  ")[2] for line in (saved / artifact.HASHES).read_text().splitlines()]
    lines = (f"{artifact._sha256(saved / name)}  {name}\n" for name in names)
    (saved / artifact.HASHES).write_text("".join(lines))


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]"])
def test_broken_json_is_a_sentence(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    rehash(saved)
    with pytest.raises(
        ArtifactError, match=rf"{name} is no JSON.*: take the artifact from where it was made"
    ):
        artifact.load(saved)


def test_a_configuration_that_lacks_something_is_a_sentence(saved: Path) -> None:
    (saved / "config.json").write_text(
        json.dumps(
            {"format": artifact.FORMAT, "model": CONFIG.to_dict(), "columns": artifact.COLUMNS}
        )
    )
    rehash(saved)
    with pytest.raises(ArtifactError, match="does not fit together: 'version'"):
        artifact.load(saved)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    broken = PPRM(CONFIG)
    broken.output.bias.data.fill_(float("nan"))
    for path in saved.iterdir():
        path.unlink()
    artifact.save(saved, one(broken, "7"), "")
    with pytest.raises(ArtifactError, match="not finite: train it again"):
        artifact.load(saved)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    other = PPRM(PPRMConfig(text_dimensions=4, projected=2, product=3, hidden=(9, 4)))
    good = (saved / "config.json").read_text()
    for path in saved.iterdir():
        path.unlink()
    artifact.save(saved, one(other, "7"), "")
    (saved / "config.json").write_text(good)
    sums = (saved / artifact.HASHES).read_text().splitlines(keepends=True)
    (saved / artifact.HASHES).write_text(
        "".join([f"{artifact._sha256(saved / 'config.json')}  config.json\n", *sums[1:]])
    )
    with pytest.raises(ArtifactError, match="does not fit together"):
        artifact.load(saved)


def test_the_bundled_artifact_is_whole_and_small() -> None:
    directory = Path(pprm.__file__).parent / "artifacts" / "complete-journey"
    loaded = artifact.load(directory)
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 14_000_000
    assert loaded.metrics["PPRM"]["all"]["ndcg_at_10"] >= 0.229
    assert loaded.metrics["PPRM"]["new"]["ndcg_at_10"] >= 0.033


def test_the_lighter_model_is_a_setting() -> None:
    whole, light = (recommender.load(Model(device="cpu", stages=stages), 10) for stages in (2, 1))
    assert whole.scorer.ranking_network and not light.scorer.ranking_network
    assert (
        light.scorer.learned_bytes()
        == whole.scorer.learned_bytes(ranks=False)
        < whole.scorer.learned_bytes() / 10
    )
    assert light.model == whole.model | {"name": "pprm-s, first stage"}


@pytest.mark.parametrize("part", artifact.COLUMNS)
def test_weights_that_learned_from_other_columns_are_refused(saved: Path, part: str) -> None:
    """Two columns that changed places would give lists of garbage, without a word."""
    config = json.loads((saved / "config.json").read_text())
    first, second, *others = config["columns"][part]
    config["columns"][part] = [second, first, *others]
    (saved / "config.json").write_text(json.dumps(config))
    rehash(saved)
    with pytest.raises(ArtifactError, match=f"column 0 of {part} was {second}, and is {first}"):
        artifact.load(saved)


def test_another_encoder_than_the_one_learned_from_is_refused(tmp_path: Path) -> None:
    learned, other = (tiny_bert.write(tmp_path / str(seed), 8, seed) for seed in (1, 2))
    made = replace(one(PPRM(CONFIG), "7"), text_encoder=identity(learned))
    artifact.save(tmp_path / "model", made, "")
    loaded = artifact.load(tmp_path / "model")
    assert loaded.text_encoder == identity(learned)
    loaded.encoder(learned)
    for wrong, why in ((other, "set model.encoder"), (None, "384"), (tmp_path, "no BERT")):
        with pytest.raises(ArtifactError, match=why):
            loaded.encoder(wrong)
