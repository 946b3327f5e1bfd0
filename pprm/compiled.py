"""Loops that numba compiles to machine code: the few places where the time of a list goes.

They are compiled at their first call and kept in numba's cache: beside the source, else in the user's cache directory,
or where NUMBA_CACHE_DIR says; where nothing can be written, they are compiled at each start. The cache knows the file
of a function, not those of what it calls: compiled functions that call each other live in one file.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}, "nogil": True}
"""Sums may be added up in another order and multiplications fused with them; NaN and infinity stay what they are."""


def compiled(function: F) -> F:
    """The function, compiled for the types that it is called with."""
    try:
        kept: F = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba found no directory for its cache
        kept = numba.njit(**_OPTIONS)(function)
    return kept
