"""`make fuzz`.

Every target in a process of its own, guided by coverage (atheris, libFuzzer), for so many seconds.

    python -m tests.fuzz SECONDS            all targets; exit code 1 where one found something
    python -m tests.fuzz TARGET FILE ...    run a target on files: what was found, again

Coverage comes from instrumented bytecode, so that our modules are imported only under
`instrument_imports`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FINDINGS = Path(".fuzz")
NAMES = ("event", "state")


def fuzz(target: str, arguments: list[str]) -> None:
    """Run libFuzzer on a target in this process; does not return."""
    import atheris

    with atheris.instrument_imports(
        include=["worker.pipeline.codec", "worker.pipeline.sentiment", "pprm", "schemas"]
    ):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([target, *arguments], TARGETS[target])
    atheris.Fuzz()


def all_targets(seconds: int) -> int:
    """Fuzz all targets side by side; returns how many found something."""
    FINDINGS.mkdir(exist_ok=True)
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as grown:
        running = {}
        for name in NAMES:
            grows = Path(grown) / name
            grows.mkdir()
            options = [
                f"-max_total_time={seconds}", f"-artifact_prefix={FINDINGS}/{name}-", "-timeout=10",
                "-rss_limit_mb=4096", "-max_len=70000", "-print_final_stats=1",
                f"-dict={here / 'words.dict'}",
            ]  # fmt: skip
            with (FINDINGS / f"{name}.log").open("wb") as log:
                command = [
                    sys.executable,
                    "-m",
                    "tests.fuzz",
                    name,
                    *options,
                    str(grows),
                    str(here / "corpus" / name),
                ]
                running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return sum(_report(name, process) for name, process in running.items())


def _report(name: str, process: "subprocess.Popen[bytes]") -> bool:
    found = process.wait() != 0
    log = (FINDINGS / f"{name}.log").read_text(errors="replace")
    executed = re.search(r"number_of_executed_units: (\d+)", log)
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    print(
        f"{name}: {executed[1] if executed else '?'} values, coverage, features and corpus"
        f" {coverage[-1:]}"
    )
    if found:
        print(f"{name} FOUND SOMETHING:\n{log[-3000:]}")
    return found


if __name__ == "__main__":
    if sys.argv[1] in NAMES:
        fuzz(sys.argv[1], sys.argv[2:])
    sys.exit(min(all_targets(int(sys.argv[1])), 1))
