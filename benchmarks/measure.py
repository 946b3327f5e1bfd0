"""What all benchmarks share.

Contenders in turn, medians and ratios, the environment, a table and a JSON report.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

PACKAGES = (
    "faust-streaming", "aiokafka", "torch", "numpy", "numba", "rocksdict", "orjson", "quixstreams",
    "confluent-kafka",
)  # fmt: skip
WIDTH = 120
"""Columns of a table at least: in a file or a pipe, too."""
T = TypeVar("T")
console = Console(stderr=True)


def parser(doc: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has; `doc` is the module's."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="seconds instead of minutes: shows that it works, no more",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"times that each is measured (default {rounds})"
    )
    return parser


def in_turn(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every contender once a round, in rotating order, so that noise strikes all alike."""
    taken: dict[str, list[T]] = {name: [] for name in contenders}
    for round_ in range(rounds):
        for name in list(contenders)[:: 1 if round_ % 2 == 0 else -1]:
            console.print(f"round {round_ + 1} of {rounds}: {name}", style="dim")
            taken[name].append(contenders[name]())
    return taken


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Lowest to highest."""
    return f"{min(values):,.4g} - {max(values):,.4g}"


def environment(**more: Any) -> dict[str, Any]:
    """Machine, versions, commit and what else ran when the figures were made."""
    root = Path(__file__).parent.parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True
    )
    return {
        "cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "memory_bytes": _memory(),
        "system": platform.platform(), "python": platform.python_version(), "packages": _packages(),
        "commit": commit.stdout.strip(), "load_average": round(os.getloadavg()[0], 2),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]), **more,
    }  # fmt: skip


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line),
        platform.processor(),
    )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=max(Console().width, WIDTH)).print(table)


def write(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report, where one is wanted."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n")
        console.print(f"report: {path}", style="dim")
