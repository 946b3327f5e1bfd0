"""What is compiled is of today's sources: a constant in another file counts."""

import os
import subprocess
import sys
from pathlib import Path

LOOP = """from pprm.core.compiled import compiled
from pprm.limits import MOST

@compiled
def most():
    return MOST
"""


def run(folder: Path) -> int:
    command = [sys.executable, "-c", "from pprm.loop import most; print(most())"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)  # beside the source
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def copied(folder: Path) -> Path:
    """A package that has nothing but `core.compiled`."""
    from pprm.core import compiled

    package = folder / "pprm"
    (package / "core").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "core" / "__init__.py").write_text("")
    (package / "core" / "compiled.py").write_bytes(Path(compiled.__file__).read_bytes())
    return package


def test_an_edit_of_a_constant_elsewhere_is_seen(tmp_path: Path) -> None:
    package = copied(tmp_path)
    (package / "loop.py").write_text(LOOP)
    (package / "limits.py").write_text("from pprm.deeper import MOST\n")
    for most in (16, 24):
        (package / "deeper.py").write_text(f"MOST = {most}\n")
        assert run(tmp_path) == most
        assert run(tmp_path) == most
    cached = sorted(
        path.suffix
        for path in (package / "__pycache__").iterdir()
        if path.stem.startswith("loop.most")
    )
    assert cached == [".nbc"], "one entry, used again"


def test_what_is_kept_says_what_it_is_of_and_anything_else_is_nothing(tmp_path: Path) -> None:
    from pprm.core.compiled import _Files

    one, other = (_Files(str(tmp_path), "loop", "these sources") for _ in range(2))
    one.save(("int64",), "whole numbers")
    other.save(("float64",), "numbers")  # by another process
    assert one.load(("float64",)) == "numbers" and other.load(("int64",)) == "whole numbers"
    assert _Files(str(tmp_path), "loop", "other sources").load(("int64",)) is None
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert one.load(("int64",)) is None


PAIR = """from typing import NamedTuple
from pprm.core.compiled import compiled

class {name}(NamedTuple):
    one: int

@compiled
def one(pair):
    return pair.one

def most():
    return one({name}(3))
"""


def test_an_argument_whose_type_is_renamed_is_compiled_anew(tmp_path: Path) -> None:
    package = copied(tmp_path)
    for name in ("Pair", "Couple"):
        (package / "loop.py").write_text(PAIR.format(name=name))
        assert run(tmp_path) == 3


def test_all_that_a_module_imports_counts() -> None:
    from pprm.core import compiled

    found = {path.name for path in compiled._closure(compiled.PACKAGE / "state" / "user_state.py")}
    assert {"user_state.py", "watermarks.py", "events.py", "compiled.py"} <= found
