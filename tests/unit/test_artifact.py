import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pprm import artifact
from pprm.artifact import ArtifactError
from pprm.model import PPRM, PPRMConfig
from pprm.text_encoder import text_hash

CONFIG = PPRMConfig(text_dimensions=4, projected=2, product=3, hidden=(5, 4))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    vectors = {text_hash(text): np.full(4, i, np.float16) for i, text in enumerate(("a", "b"))}
    artifact.save(tmp_path / "model", PPRM(CONFIG), "7", vectors, {"all": 1}, "# card\n")
    return tmp_path / "model"


def test_what_was_saved_is_loaded(saved: Path) -> None:
    loaded = artifact.load(saved)
    torch.manual_seed(1)
    original = PPRM(CONFIG)
    assert (loaded.name, loaded.version, loaded.metrics, loaded.model.config) == ("pprm-s", "7", {"all": 1}, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), original.parameters(), strict=True))
    assert loaded.encoder(Path("/nowhere")).encode(["b", "a"]).tolist() == [[1.0] * 4, [0.0] * 4]


def test_the_hash_tells_artifacts_apart(saved: Path, tmp_path: Path) -> None:
    again = artifact.save(tmp_path / "other", PPRM(CONFIG), "8", {text_hash("a"): np.zeros(4)}, {}, "")
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


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    other = PPRM(PPRMConfig(text_dimensions=4, projected=2, product=3, hidden=(9, 4)))
    good = (saved / "config.json").read_text()
    artifact.save(saved, other, "7", {text_hash("a"): np.zeros(4)}, {}, "")
    (saved / "config.json").write_text(good)
    sums = (saved / artifact.HASHES).read_text().splitlines(keepends=True)
    (saved / artifact.HASHES).write_text(
        "".join([f"{artifact._sha256(saved / 'config.json')}  config.json\n", *sums[1:]])
    )
    with pytest.raises(ArtifactError, match="does not fit together"):
        artifact.load(saved)


def test_the_bundled_artifact_is_whole_and_small() -> None:
    directory = Path(artifact.__file__).parent / "artifacts" / "complete-journey"
    loaded = artifact.load(directory)
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 10_000_000
    assert loaded.metrics["PPRM"]["all"]["ndcg_at_10"] >= 0.215
    assert loaded.metrics["PPRM"]["new"]["ndcg_at_10"] >= 0.023
