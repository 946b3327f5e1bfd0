"""What a process says before it ends because of an error."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.kafka.embedded import free_port
from worker.ops.fatal import EXIT_CODE


def ended(raised: str, level: str) -> "subprocess.CompletedProcess[str]":
    """A process that ends with this error, logging from this level on."""
    code = (
        "from pprm.core.errors import Foreseen; from worker.ops import fatal, logs\n"
        "from worker.settings import Log\n"
        f"logs.configure(Log(level='{level}', format='json'))\n"
        f"try: raise {raised}\n"
        "except Exception as error: fatal.exit_now('it failed', error)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("level", "tracebacks"), [("INFO", 0), ("DEBUG", 1)])
def test_a_sentence_of_ours_is_enough(level: str, tracebacks: int) -> None:
    done = ended("Foreseen('there is no such model')", level)
    assert done.returncode == EXIT_CODE and "it failed: there is no such model" in done.stderr
    assert done.stderr.count("Traceback") == tracebacks


def test_what_nobody_foresaw_is_told_with_its_traceback() -> None:
    done = ended("KeyError('odd')", "INFO")
    assert done.returncode == EXIT_CODE
    assert "KeyError: 'odd'" in done.stderr and done.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PPRM_STATE__DIRECTORY": "/dev/null/state"}, "set state.directory"),
        ({"PPRM_HTTP__HOST": "192.0.2.1"}, "change http.host or http.port"),
        ({"PPRM_MODEL__DIRECTORY": "no-such-model"}, "no-such-model is no artifact"),
    ],
    ids=["state directory", "port", "model"],
)
def test_a_wrong_setting_ends_a_worker_with_one_sentence(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    environment = {
        "PPRM_STATE__DIRECTORY": str(tmp_path / "state"), "PPRM_HTTP__PORT": str(free_port()),
        "PPRM_LOG__FORMAT": "json", "PYTHONPATH": str(Path.cwd()), **variables,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "worker", "worker"], env=environment, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == EXIT_CODE and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert sum('"level": "critical"' in line for line in done.stderr.splitlines()) == 1
