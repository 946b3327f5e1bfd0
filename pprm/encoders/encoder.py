"""What reads texts."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Encode: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
"""As `Encoder.encode`."""


class Encoder(Protocol):
    """Reads texts."""

    @property
    def dimensions(self) -> int:
        """Of its vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, [n, dimensions]; the empty text is the zero vector."""
