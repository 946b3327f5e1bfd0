"""Modules of a package that are of its kind (a data set, an encoder): they say so by a `NAME`.

Nothing is imported to find them, since some need packages that take seconds, or are not installed.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

MARK = "NAME"


class NamedModule(NamedTuple):
    """A module that has a name."""

    name: str
    module: str
    """The module's name within the package."""
    constants: dict[str, Any]
    """Constants of the module's top level by name, as far as they are literals."""


class Modules(Mapping[str, T]):
    """Modules of a package by their names, looked for anew each time."""

    def __init__(self, package: str, make: Callable[[NamedModule], T]) -> None:
        """`make` says what stands for a module."""
        self._package, self._make = package, make

    def __getitem__(self, name: str) -> T:
        for found in self._found():
            if found.name == name:
                return self._make(found)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (found.name for found in self._found())

    def __len__(self) -> int:
        return sum(1 for _ in self._found())

    def _found(self) -> Iterator[NamedModule]:
        return find(sys.modules[self._package].__path__)


def find(folders: Iterable[str]) -> Iterator[NamedModule]:
    """Find the modules with a `NAME` in the folders of a package (its `__path__`), by file name."""
    for folder in folders:
        for module in iter_modules([folder]):
            path = Path(folder) / f"{module.name}.py"
            text = path.read_text() if path.is_file() else ""
            if f'\n{MARK} = "' in text:
                constants = dict(_constants(ast.parse(text)))
                yield NamedModule(constants[MARK], module.name, constants)


def _constants(module: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id, ast.literal_eval(node.value)
            except ValueError:
                continue  # it is computed
