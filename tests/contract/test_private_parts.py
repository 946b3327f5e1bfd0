"""Nobody outside of `worker.runtime` reaches into Faust, mode or aiokafka, or other libraries.

What is private there changes without notice. Whoever needs something of it asks the runtime, which
has a public name for it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEIRS = ("faust", "mode", "aiokafka")
MAY = {
    "worker/kafka/reader.py": "aiokafka's consumers have no settings for how they read",
    "worker/kafka/topics.py": "its admin client creates the topics that it is asked about",
    "worker/kafka/acls.py": "its admin client has no requests for ACLs",
}
"""Modules of `worker.kafka` that exist for what aiokafka lacks, and why."""
OF_PYTHON = {"_exit", "_asdict", "_replace", "_fields", "_make"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """Private names that a module gives to its own functions, classes and their attributes."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names that a module asks others for: line and name."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if is_private(name):
                yield node.lineno, name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if is_private(name):
                yield node.lineno, name
            case ast.ImportFrom(module=str(module), names=names) if module.startswith(THEIRS):
                parts = [*module.split("."), *(alias.name for alias in names)]
                yield from ((node.lineno, part) for part in parts if is_private(part))


def foreign(source: str) -> list[tuple[int, str]]:
    """Uses of what neither the module itself nor Python has."""
    tree = ast.parse(source)
    own = defined(tree) | OF_PYTHON
    return [(line, name) for line, name in uses(tree) if name not in own]


def modules() -> dict[str, str]:
    """The worker's, without those of the runtime."""
    paths = sorted((ROOT / "worker").rglob("*.py"))
    named = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in named.items() if not name.startswith("worker/runtime/")}


def test_only_the_runtime_touches_what_is_private_elsewhere() -> None:
    found = [
        f"{name}:{line}: {private}"
        for name, text in modules().items()
        if name not in MAY
        for line, private in foreign(text)
    ]
    assert not found, "give it a public name in worker/runtime"


@pytest.mark.parametrize("name", MAY)
def test_who_may_needs_it(name: str) -> None:
    assert foreign(modules()[name]), "it needs no private part any more: take it off the list"


@pytest.mark.parametrize(
    "source",
    [
        "c.app._consumer",
        "admin._client.send(1)",
        "channel.queue._queue",
        "list(c.table.data._dbs)",
        "class Ours(Theirs):\n    def start(self):\n        self._stopped.set()",
        "getattr(app, '_consumer', None)",
        "from faust._cython.streams import StreamIterator",
        "from aiokafka.consumer.fetcher import _Fetched",
        "app._consumer = None",
    ],
)
def test_a_private_part_is_seen(source: str) -> None:
    assert foreign(source)


@pytest.mark.parametrize(
    "source",
    [
        "class Ours:\n    def start(self):\n        self._held = 1\ndef use(ours):\n    ours._held",
        "class Ours:\n    def _part(self): ...\nOurs()._part()",
        "visit._replace(day=1)",
        "object.__new__(Ours).__dict__",
    ],
)
def test_what_is_ours_or_pythons_is_not(source: str) -> None:
    assert not foreign(source)
