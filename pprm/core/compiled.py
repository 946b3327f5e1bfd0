"""Loops that numba compiles to machine code: the few places where the time of a list goes.

They are compiled at their first call and kept on disk: beside the source, else in the user's cache
directory, or where NUMBA_CACHE_DIR says; where nothing can be written, they are compiled at each
start. Numba's own cache is not quite enough:

- It knows the file of a function only, while a compiled function holds constants and functions of
  other files. Ours asks for all files of ours that a function's file imports: what was compiled
  from other sources is never run.
- It has an index for each function, and numbers the files that this names. Two processes that
  compile the same function for other types at the same time take the same number, and the loop of
  one is run with the types of the other. Ours has no index: a file is named by its types.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import caching

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
    "nogil": True,
    "no_cfunc_wrapper": True,
}
"""Sums may be reordered and fused with products; NaN and infinity stay what they are.

C calls none of them.
"""
PACKAGE = Path(__file__).parents[1]
LOOPS: list[Any] = []
"""All that are defined: numba's dispatchers."""


def compiled(function: F) -> F:
    """The function, compiled for the types that it is called with."""
    return _kept(numba.njit(**_OPTIONS)(function), function)


def part(function: F) -> F:
    """A function that compiled ones alone call: Python must not, it would crash.

    What takes Python's objects apart is most of the code that there is to compile for many.
    """
    return _kept(numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function), function)


def _kept(loop: Any, function: F) -> F:
    with suppress(RuntimeError):  # numba found no directory for its cache
        loop._cache = _Cache(function)
    LOOPS.append(loop)
    return cast(F, loop)


def record(fields: list[tuple[str, str]]) -> "np.dtype[Any]":
    """A structured type whose fields loops take as attributes, also where they run as Python."""
    return np.dtype((np.record, fields))


def is_missing(loop: Any, types: tuple[Any, ...]) -> bool:
    """Whether a loop for these types could be on disk, and is not."""
    kept = loop._cache
    return isinstance(kept, _Cache) and not kept.holds(types, loop.targetctx.codegen())


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """What is compiled of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def holds(self, types: tuple[Any, ...], codegen: Any) -> bool:
        """Whether it can be read."""
        return self._cache_file.load(self._index_key(types, codegen)) is not None


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]
    """A file for each types of a function and each kind of CPU, that says itself what it is of."""

    def __init__(self, folder: str, name: str, stamp: Any) -> None:
        super().__init__(folder, name, stamp)
        self._name = name

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._file(key), (self._source_stamp, key, data))

    def load(self, key: Any) -> Any:
        try:
            stamp, of, data = self._load_data(self._file(key))
        except Exception:  # say, a type of it has another name now: it can be made again
            return None
        return data if (stamp, of) == (self._source_stamp, key) else None

    def _file(self, key: Any) -> str:
        told = repr((self._version, key)).encode()
        return f"{self._name}.{hashlib.sha256(told).hexdigest()[:16]}.nbc"


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
