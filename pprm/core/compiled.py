"""Loops that numba compiles to machine code: the few places where the time of a list goes.

They are compiled at their first call and kept in numba's cache: beside the source, else in the
user's cache directory, or where NUMBA_CACHE_DIR says; where nothing can be written, they are
compiled at each start. Numba's own cache knows the file of a function only, while a compiled
function holds constants and functions of other files. Ours asks for all files of ours that a
function's file imports: what was compiled from other sources is never run.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
    "nogil": True,
}
"""Sums may be reordered and fused with products; NaN and infinity stay what they are."""
PACKAGE = Path(__file__).parents[1]


def compiled(function: F) -> F:
    """The function, compiled for the types that it is called with."""
    try:
        kept: Any = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba found no directory for its cache
        made: F = numba.njit(**_OPTIONS)(function)
        return made
    # Numba compares versions first, and sources only once it has read the types of the arguments,
    # which fails where one of them has another name now. So the sources are part of the version.
    index = kept._cache._cache_file
    index._version = f"{index._version} {index._source_stamp}"
    made = kept
    return made


class _BySources:
    """Where compiled functions are kept, with all sources of ours that each was compiled from.

    numba looks for a kept function with `get_source_stamp`, and takes it only if the stamp is the
    same.
    """

    _py_file: str

    def get_source_stamp(self) -> Any:
        """Return a hash of the sources; it is read when a function is defined."""
        path = Path(self._py_file).resolve()
        if not path.is_relative_to(PACKAGE):
            return super().get_source_stamp()  # type: ignore[misc]
        return digest(path)


class Named(_BySources, caching.UserProvidedCacheLocator):  # type: ignore[misc]
    """The cache in the directory that NUMBA_CACHE_DIR names."""


class Beside(_BySources, caching.InTreeCacheLocator):  # type: ignore[misc]
    """The cache beside the source."""


class OfTheUser(_BySources, caching.UserWideCacheLocator):  # type: ignore[misc]
    """The cache in the user's cache directory."""


def digest(path: Path) -> str:
    """Return a hash of a module of ours and of all our modules that it imports, at any depth."""
    hashed = hashlib.sha256()
    for each in sorted(_closure(path)):
        hashed.update(str(each.relative_to(PACKAGE)).encode() + each.read_bytes())
    return hashed.hexdigest()


def _closure(path: Path) -> set[Path]:
    found, left = set[Path](), [path]
    while left:
        if (each := left.pop()) not in found:
            found.add(each)
            left += _imported(each)
    return found


@cache
def _imported(path: Path) -> frozenset[Path]:
    """Modules of ours that a module imports."""
    names = _names(ast.parse(path.read_bytes()))
    candidates = {
        _file(name.split(".")[1:]) for name in names if name.split(".")[0] == PACKAGE.name
    }
    return frozenset(candidate for candidate in candidates if candidate)


def _names(tree: ast.Module) -> Iterator[str]:
    """All that is imported, and what it is imported from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(parts: list[str]) -> Path | None:
    module = PACKAGE.joinpath(*parts)
    return next(
        (path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()),
        None,
    )


if not numba.config.CACHE_LOCATOR_CLASSES:
    numba.config.CACHE_LOCATOR_CLASSES = ",".join(
        f"{__name__}.{each.__name__}" for each in (Named, Beside, OfTheUser)
    )
