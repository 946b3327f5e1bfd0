"""Modules of a package that are of its kind (a data set, an encoder): they say so by a `NAME`.

Nothing is imported to find them, since some need packages that take seconds, or are not installed.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

MARK = "NAME"


class Found(NamedTuple):
    """A module that has a name."""

    name: str
    module: str
    """Its own, within the package."""
    constants: dict[str, Any]
    """What is written out at its top level, by name."""


def find(folders: Iterable[str]) -> Iterator[Found]:
    """Find the modules with a `NAME` in the folders of a package (its `__path__`), by file name."""
    for folder in folders:
        for module in iter_modules([folder]):
            path = Path(folder) / f"{module.name}.py"
            text = path.read_text() if path.is_file() else ""
            if f'\n{MARK} = "' in text:
                constants = dict(_constants(ast.parse(text)))
                yield Found(constants[MARK], module.name, constants)


def _constants(module: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id, ast.literal_eval(node.value)
            except ValueError:
                continue  # it is computed
