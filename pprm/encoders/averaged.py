"""Vectors of words, averaged with inverse document frequencies: lighter than BERT."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import log

import numpy as np

from pprm.core.arrays import Floats


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


class Averaged:
    """An encoder that knows a vector of each word."""

    def __init__(
        self,
        vectors: dict[str, Floats],
        sentences: Sequence[Sequence[str]],
        dimensions: int,
        split: Callable[[str], list[str]] = words,
    ) -> None:
        """Words are weighted by how few of the `sentences` have them; `split` finds them."""
        found = Counter(word for sentence in sentences for word in set(sentence))
        self.dimensions, self._vectors, self._split = dimensions, vectors, split
        self._weight = {
            word: log((1 + len(sentences)) / (1 + count)) + 1 for word, count in found.items()
        }

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder`."""
        vectors, weight = self._vectors, self._weight
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            if known := [word for word in self._split(text) if word in vectors]:
                out[row] = np.average(
                    [vectors[word] for word in known], 0, [weight[word] for word in known]
                )
        return out
