"""An encoder is one module, which `pprm evaluate --models first-stage` tries by itself."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pprm.encoders
from pprm.catalogue.catalogue import Product
from pprm.encoders import ENCODERS, product_vectors
from pprm.encoders.averaged import Averaged
from pprm.encoders.text_encoder import TextEncoder
from pprm.experiments import compare

LETTERS = '''"""How often each letter is in a text: it learns nothing."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NAME = "letters"


class Letters:
    """See `pprm.encoders.encoder.Encoder`."""

    dimensions = 26

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Counts of a to z, [n, 26]."""
        alphabet = "abcdefghijklmnopqrstuvwxyz"
        counts = [[text.lower().count(letter) for letter in alphabet] for text in texts]
        return np.array(counts, np.float32).reshape(-1, self.dimensions)


def learn(texts: Iterable[str], seed: int) -> Letters:
    """Make one for a shop's texts."""
    return Letters()
'''


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An encoder of one's own, in a folder where the package's modules are looked for."""
    (tmp_path / "letters.py").write_text(LETTERS)
    monkeypatch.setattr(pprm.encoders, "__path__", [str(tmp_path)])
    yield
    sys.modules.pop("pprm.encoders.letters", None)


@pytest.mark.usefixtures("letters")
def test_an_encoder_of_ones_own() -> None:
    products = [Product("1", "abba", "", "", ""), Product("2", "", "", "", "")]
    vectors = product_vectors.vectors(products, 26, ENCODERS["letters"].learn([], 0))
    assert vectors[0, :3].tolist() == [2, 2, 0] and not vectors[1].any()
    (name, encode), *others = compare.other_encoders(["abba"]).items()
    assert name == "letters" and not others
    assert np.array_equal(encode(["abba", ""]), vectors)


def test_all_there_are_are_found_by_their_modules() -> None:
    assert set(ENCODERS) == {"BERT", "BERT's input embeddings", "Word2Vec"}
    made = ENCODERS["BERT"].learn(["tea"], 0)
    assert isinstance(made, TextEncoder) and not made.is_loaded and made.dimensions == 384


def test_words_are_averaged_and_rare_ones_count_more() -> None:
    vectors = {"green": np.array([1, 0], np.float32), "tea": np.array([0, 1], np.float32)}
    encoder = Averaged(vectors, [["green", "tea"], ["tea"], ["tea"]], 2)
    ((green, tea), unknown) = encoder.encode(["Green tea!", "coffee"])
    assert green > tea > 0 and not unknown.any()
