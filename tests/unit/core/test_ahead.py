"""Loops are compiled side by side, ahead of their use, and only those that will be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pprm.core import ahead

CORE = Path(ahead.__file__).parent
LOOPS = """import numpy as np
from pprm.core.compiled import compiled, part, record

PAIR = record([("many", "<u4"), ("each", "<f4")])


@part
def product(pair):
    return pair.many * pair.each


@compiled
def total(pairs):
    found = 0.0
    for i in range(len(pairs)):
        found += product(pairs[i])
    return found


@compiled
def doubled(numbers):
    return numbers * 2


@compiled
def never(numbers):
    return numbers + 1


def work():
    seen.append(total(np.array([(2, 0.5), (3, 2.0)], PAIR)))
    seen.append(int(doubled(np.arange(3)).sum()))


seen = []
"""
RUN = """import json, os
from pprm import loops
from pprm.core import ahead
os.sched_getaffinity = lambda process: range(PROCESSES)
BEFORE
ahead.compile_ahead(loops.work)
of = {name: getattr(loops, name).stats for name in ("total", "doubled", "never")}
print(json.dumps({
    "seen": loops.seen,
    "read": [name for name, stats in of.items() if stats.cache_hits],
    "made": [name for name, stats in of.items() if stats.cache_misses],
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package of that name, with these loops only."""
    (tmp_path / "pprm" / "core").mkdir(parents=True)
    for name in ("__init__.py", "core/__init__.py"):
        (tmp_path / "pprm" / name).write_text("")
    for name in ("compiled.py", "ahead.py"):
        (tmp_path / "pprm" / "core" / name).write_bytes((CORE / name).read_bytes())
    (tmp_path / "pprm" / "loops.py").write_text(LOOPS)
    return tmp_path


def run(folder: Path, processes: int = 2, before: str = "") -> dict[str, list[object]]:
    script = RUN.replace("PROCESSES", str(processes)).replace("BEFORE", before)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "kept")},
    )  # fmt: skip
    assert not done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


def test_loops_are_compiled_by_two_processes_and_the_next_start_reads_them(folder: Path) -> None:
    first = run(folder)
    assert first["seen"] == [7.0, 6, 7.0, 6], "as Python, then compiled"
    assert first["made"] == ["total"] and first["read"] == ["doubled"], "the helper's is the last"
    assert run(folder) == {"seen": [7.0, 6], "read": ["total", "doubled"], "made": []}


def test_one_core_compiles_alone(folder: Path) -> None:
    assert run(folder, processes=1) == {"seen": [7.0, 6], "read": [], "made": ["total", "doubled"]}


def test_a_helper_that_ends_costs_time_only(folder: Path) -> None:
    found = run(folder, before="ahead.HELPER = ['false']")
    assert found["seen"] == [7.0, 6, 7.0, 6] and found["made"] == ["total", "doubled"]


WARM_UP = """import sys
from functools import partial
from pprm.core import ahead
from pprm.core.compiled import LOOPS
from pprm.serving import scorer
from worker.pipeline import recommender
from worker.settings import Model

def noted(work):
    ahead.is_missing = lambda loop, types: True
    with ahead.as_python() as calls:
        work()
    python.update(calls)

def called(loop, *arguments):
    function = loop.py_func
    types = tuple(map(loop.typeof_pyval, arguments))
    compiled.add(ahead.Call(function.__module__, function.__name__, types))
    return type(loop)._compile_for_args(loop, *arguments)

python, compiled = set(), set()
scorer.compile_ahead = noted
made = recommender.load(Model(), 10)
for loop in LOOPS:
    loop._compile_for_args = partial(called, loop)
scorer._make_lists(made.scorer)
made = {
    ahead.Call(loop.py_func.__module__, loop.py_func.__name__, types)
    for loop in LOOPS for types in loop.overloads
}
crash = {
    (loop.py_func.__module__, loop.py_func.__name__)
    for loop in LOOPS if loop.targetoptions.get("no_cpython_wrapper")
}
python_calls = {call[:2] for call in compiled}
print(len(compiled), compiled - python, python - made, crash & python_calls, sep="\\n")
"""


def test_lists_made_by_python_call_the_same_loops_for_the_same_types() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WARM_UP], check=True, capture_output=True, text=True
    )
    count, compiled_late, for_nothing, crash = done.stdout.splitlines()
    assert int(count) > 20
    assert compiled_late == "set()" and for_nothing == "set()"
    assert crash == "set()", "Python calls what loops alone may call"
