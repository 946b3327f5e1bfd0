"""Bytes of what was learned."""

from typing import Any

import numpy as np
from torch import nn


def nbytes(*parts: Any) -> int:
    """Bytes of numpy arrays, scipy's sparse rows and torch modules, together."""
    return sum(map(_bytes, parts))


def _bytes(part: Any) -> int:
    if isinstance(part, np.ndarray):
        return part.nbytes
    if isinstance(part, nn.Module):
        return sum(tensor.nbytes for tensor in part.state_dict().values())
    return int(part.data.nbytes + part.indices.nbytes + part.indptr.nbytes)
