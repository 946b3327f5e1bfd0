"""Word2Vec, learned on the shop's own texts.

Mikolov et al., "Efficient estimation of word representations", 2013.
"""

from collections.abc import Iterable

from pprm.encoders.averaged import Averaged, words

NAME = "Word2Vec"
DIMENSIONS = 96
EPOCHS = 30


def learn(texts: Iterable[str], seed: int) -> Averaged:
    """Learn on these texts."""
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
    return Averaged(vectors, sentences, DIMENSIONS)
