"""Lighter text encoders than BERT, to compare with.

Word vectors are averaged with inverse document frequencies.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import log
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Encode: TypeAlias = Callable[[Sequence[str]], Floats]
"""Texts to vectors, [n, dimensions]; the empty text is the zero vector."""

DIMENSIONS = 96
EPOCHS = 30


def word2vec(texts: Iterable[str], seed: int) -> Encode:
    """Learn Word2Vec on these texts.

    Mikolov et al., "Efficient estimation of word representations", 2013.
    """
    from gensim.models import Word2Vec

    sentences = [words(text) for text in dict.fromkeys(texts)]
    model = Word2Vec(
        sentences,
        vector_size=DIMENSIONS,
        window=10,
        min_count=1,
        sg=1,
        epochs=EPOCHS,
        workers=1,
        seed=seed,
    )
    vectors = {word: model.wv[word] for word in model.wv.key_to_index}
    return _averaged(vectors, sentences, DIMENSIONS)


def static_bert(texts: Iterable[str], directory: Path) -> Encode:
    """BERT's input embeddings alone: no layer is run."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    bert = AutoModel.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    table: Floats = bert.get_input_embeddings().weight.detach().numpy()

    def pieces(text: str) -> list[str]:
        return [str(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]

    sentences = [pieces(text) for text in dict.fromkeys(texts)]
    vectors = {piece: table[int(piece)] for sentence in sentences for piece in sentence}
    return _averaged(vectors, sentences, table.shape[1], pieces)


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _averaged(
    vectors: dict[str, Floats],
    sentences: Sequence[Sequence[str]],
    dimensions: int,
    split: Callable[[str], list[str]] = words,
) -> Encode:
    found = Counter(word for sentence in sentences for word in set(sentence))
    weight = {word: log((1 + len(sentences)) / (1 + count)) + 1 for word, count in found.items()}

    def encode(texts: Sequence[str]) -> Floats:
        out = np.zeros((len(texts), dimensions), np.float32)
        for row, text in enumerate(texts):
            if known := [word for word in split(text) if word in vectors]:
                out[row] = np.average(
                    [vectors[word] for word in known], 0, [weight[word] for word in known]
                )
        return out

    return encode
