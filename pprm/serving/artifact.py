"""A trained model as a directory.

It holds weights, configuration, text vectors, figures, card, and the hash of every file.

No pickle anywhere: loading runs no code of the artifact's maker.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as arrays
from safetensors import torch as tensors

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.errors import Foreseen
from pprm.encoders.text_encoder import EncoderError, Identity, TextEncoder, identity
from pprm.ranking.candidate_features import NAMES
from pprm.ranking.network import RankingNetwork
from pprm.ranking.slow_tables import SlowTables
from pprm.retrieval.features import CROSS, SCALARS
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.retrieval.retriever import EncodeTexts
from pprm.serving.scorer import Scorer

FORMAT = 3
HASHES = "SHA256SUMS"
FILES = (
    "config.json",
    "metrics.json",
    "model.safetensors",
    "text_vectors.safetensors",
    "README.md",
)
RANKING_FILES = ("second_stage.safetensors", "tables.safetensors")
"""Further files of a model that ranks."""


COLUMNS: dict[str, Sequence[str]] = {"shopper": SCALARS, "pair": CROSS, "candidate": NAMES}
"""What the networks take, in order: numbers about a shopper and about a shopper and a product, and
the candidate features of ranking."""


class ArtifactError(Foreseen, ValueError):
    """The directory is not an artifact this version can trust; the message says why."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A loaded model."""

    model: PPRM
    name: str
    version: str
    sha256: str
    """Hash of the list of hashes, so of everything."""
    text_vectors: Mapping[bytes, Any]
    metrics: Mapping[str, Any]
    ranking_network: RankingNetwork | None = None
    tables: SlowTables | None = None
    text_encoder: Identity | None = None
    """The encoder whose vectors the network learned from; None in tests: any."""

    def retrieval_alone(self) -> "Artifact":
        """The lighter model, which does not rank, under a name of its own."""
        name = f"{self.name}, first stage"  # as consumers of the lists know it
        return replace(self, name=name, ranking_network=None, tables=None)

    def scorer(
        self,
        catalogue: Catalogue,
        popularity: Popularity,
        encode: EncodeTexts,
        device: torch.device,
    ) -> Scorer:
        """A scorer with this model."""
        networks = self.ranking_network, self.tables
        return Scorer(self.model, catalogue, popularity, encode, device, *networks)

    def encoder(self, directory: Path | None, device: torch.device | None = None) -> TextEncoder:
        """A text encoder that knows the vectors the artifact carries.

        Raises:
            ArtifactError: it is another encoder than the one whose vectors the network learned.
        """
        if self.text_encoder:
            _require_encoder(self.text_encoder, directory)
        encoder = TextEncoder(directory, self.model.config.text_dimensions, device)
        encoder.vectors.update(self.text_vectors)
        return encoder


def check_writable(directory: Path) -> None:
    """Check that an artifact can be written to a directory, before the minutes that learning takes.

    Raises:
        ArtifactError: it is a file, holds what is no artifact's, or may not be written.
    """
    if directory.exists() and not directory.is_dir():
        raise ArtifactError(f"{directory} is a file: name a directory for the artifact")
    if directory.is_dir() and (
        odd := sorted({p.name for p in directory.iterdir()} - {*FILES, *RANKING_FILES, HASHES})
    ):
        raise ArtifactError(
            f"{directory} holds {', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''},"
            " which is no artifact's, and an artifact with a file too many is not"
            " loaded: name a new directory"
        )
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ArtifactError(f"{there} may not be written: name a directory that may")


def save(directory: Path, made: Artifact, card: str) -> str:
    """Write an artifact, readable as the umask says.

    Returns its SHA-256 (that of `made` is not read).
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in (HASHES, *RANKING_FILES):  # of an artifact that was here before
        (directory / name).unlink(missing_ok=True)
    config = {
        "format": FORMAT, "version": made.version, "model": made.model.config.to_dict(),
        "encoder": made.text_encoder and made.text_encoder._asdict(), "columns": COLUMNS,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (directory / "metrics.json").write_text(json.dumps(made.metrics, indent=2) + "\n")
    (directory / "README.md").write_text(card)
    (directory / "model.safetensors").write_bytes(_weights(made.model))
    keys = np.frombuffer(b"".join(made.text_vectors), np.uint64).copy()
    vectors = np.array(list(made.text_vectors.values()), np.float16).reshape(
        len(keys), -1 if len(keys) else 0
    )
    (directory / "text_vectors.safetensors").write_bytes(
        arrays.save({"keys": keys, "vectors": vectors})
    )
    files: tuple[str, ...] = FILES
    if made.ranking_network and made.tables:
        files += RANKING_FILES
        (directory / "second_stage.safetensors").write_bytes(_weights(made.ranking_network))
        (directory / "tables.safetensors").write_bytes(arrays.save(made.tables.to_arrays()))
    sums = "".join(f"{_sha256(directory / name)}  {name}\n" for name in files)
    (directory / HASHES).write_text(sums)
    return hashlib.sha256(sums.encode()).hexdigest()


def _weights(model: torch.nn.Module) -> bytes:
    """As safetensors; its own `save_file` makes files that only their owner may read."""
    made: bytes = tensors.save(
        {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    )
    return made


def load(directory: Path) -> Artifact:
    """Verify and read an artifact.

    Raises:
        ArtifactError: a file is missing, unexpected or changed, or the format is another one.
    """
    sums = _verified(directory)
    config, metrics = _json(directory / "config.json"), _json(directory / "metrics.json")
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"{directory} has format {config.get('format')},"
            f" this version reads {FORMAT}: train it again"
        )
    _require_columns(config.get("columns"), directory)
    try:
        model = PPRM(PPRMConfig.from_dict(config["model"]))
        model.load_state_dict(tensors.load_file(directory / "model.safetensors"))
        stored = arrays.load_file(directory / "text_vectors.safetensors")
        vectors = {
            key.tobytes(): vector
            for key, vector in zip(stored["keys"], stored["vectors"], strict=True)
        }
        ranking, tables = _ranking(directory) if RANKING_FILES[0] in sums else (None, None)
        version = config["version"]
        encoder = Identity(**config["encoder"]) if config["encoder"] else None
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{directory} does not fit together: {error}") from error
    if not _is_finite(model, ranking, stored["vectors"]):
        raise ArtifactError(
            f"{directory} holds weights or vectors that are not finite: train it again"
        )
    sha256 = hashlib.sha256(sums.encode()).hexdigest()
    return Artifact(
        model.eval(), model.config.name, version, sha256, vectors, metrics, ranking, tables, encoder
    )


def _require_columns(learned: Any, directory: Path) -> None:
    """Refuse weights that learned from other columns than this code makes."""
    if not isinstance(learned, dict):
        raise ArtifactError(f"{directory}/config.json does not name its columns: train it again")
    for part, names in COLUMNS.items():
        theirs = learned.get(part)
        if theirs != list(names):
            pairs = zip_longest(theirs if isinstance(theirs, list) else [], names)
            place, differs = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise ArtifactError(
                f"{directory} learned from other inputs than this version makes: column {place} of"
                f" {part} was {differs[0]}, and is {differs[1]}. Train it again, or use the version"
                " that made it"
            )


def _require_encoder(learned: Identity, directory: Path | None) -> None:
    try:
        found = identity(directory)
    except EncoderError as error:
        if directory is None:  # a checkout without weights: texts in the artifact are read anyway
            return
        raise ArtifactError(str(error)) from error
    if (found.dimensions, found.sha256) != (learned.dimensions, learned.sha256):
        raise ArtifactError(
            f"the artifact learned from texts as {learned.name} reads them ({learned.dimensions}"
            f" numbers, weights {learned.sha256[:12]}), and this is {found.name}"
            f" ({found.dimensions}, {found.sha256[:12]}): set model.encoder (--encoder) to that"
            " encoder's directory, or train with this one"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except ValueError as error:  # not UTF-8, too
        raise ArtifactError(
            f"{path} is no JSON ({error}): take the artifact from where it was made"
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} is no JSON object: take the artifact from where it was made")
    return value


def _is_finite(model: PPRM, ranking: RankingNetwork | None, vectors: NDArray[np.float16]) -> bool:
    """Whether all weights and vectors are finite.

    Scales may be infinite: an input that never varied has no say.
    """
    weights = [*model.parameters(), *(ranking.parameters() if ranking else ())]
    return all(bool(weight.isfinite().all()) for weight in weights) and bool(
        np.isfinite(vectors).all()
    )


def _ranking(directory: Path) -> tuple[RankingNetwork, SlowTables]:
    network = RankingNetwork()
    network.load_state_dict(tensors.load_file(directory / "second_stage.safetensors"))
    tables = SlowTables.from_arrays(arrays.load_file(directory / "tables.safetensors"))
    return network.eval(), tables


def _verified(directory: Path) -> str:
    if not (directory / HASHES).is_file():
        raise ArtifactError(
            f"{directory} is no artifact: it has no {HASHES}; make one with `pprm train`"
        )
    sums = (directory / HASHES).read_text(errors="replace")
    expected = {
        name: wanted for wanted, _, name in (line.partition("  ") for line in sums.splitlines())
    }
    if set(expected) not in (set(FILES), {*FILES, *RANKING_FILES}):
        raise ArtifactError(
            f"{directory}/{HASHES} must name {', '.join(FILES)}, and both or neither of"
            f" {' and '.join(RANKING_FILES)}"
        )
    present = {path.name for path in directory.iterdir()} - {HASHES}
    if present != set(expected):
        odd = ", ".join(sorted(present ^ set(expected)))
        raise ArtifactError(f"{directory} has files too many or too few: {odd}")
    for name, wanted in expected.items():
        if _sha256(directory / name) != wanted:
            raise ArtifactError(
                f"{directory}/{name} is not the file that was"
                f" trained: its hash differs from {HASHES}"
            )
    return sums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
