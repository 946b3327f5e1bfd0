"""Seconds and peak memory of each phase of `pprm train`, on the bundled data.

--quick takes 10 households without promotions, texts from the bundled artifact, and a quarter of a
minute. The whole is
what `pprm train` does, on one core: nine minutes of an idle machine, and 7 GiB; it is done once,
`--rounds` says how often. A phase's peak is the most that the process had in use during it, what
earlier phases left behind included.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter, process_time
from typing import Any

import torch
from rich.console import Console

from benchmarks import measure
from benchmarks.measure import median, show
from benchmarks.processes import MIB, alone, forget_peak, peak, resident
from pprm.core import progress
from pprm.data import complete_journey, plan
from pprm.data.dataset import no_promotions
from pprm.encoders.text_encoder import TextEncoder
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.training import ranking_training, train
from pprm.training.train import TrainingContext
from worker.settings import Model

HOUSEHOLDS = 10
"""Of --quick."""


@dataclass(slots=True)
class Phases:
    """What each phase took, in their order."""

    taken: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        forget_peak()
        began, cpu = perf_counter(), process_time()
        yield
        left = resident()  # before the peak is read, so that it is part of it
        self.taken[name] = {
            "seconds": perf_counter() - began, "cpu_seconds": process_time() - cpu,
            "peak_bytes": max(peak(), left), "left_bytes": left,
        }  # fmt: skip


def measured(households: int | None) -> dict[str, Any]:
    """Train on so many households (None: all) as `pprm.training.train.run` does.

    Nothing is written.
    """
    torch.set_num_threads(1)
    phase, config = Phases(), train.MODELS["pprm-s"]
    dimensions = config.text_dimensions
    with progress.bars(Console(quiet=True)) as bars:
        with phase("reading"):
            ids = complete_journey.household_ids()[:households] if households else None
            data = complete_journey.load(ids)
        # no phase in which all promotions and products of the shop outweigh a few households
        if households:
            data = replace(data, promotions=no_promotions)
        with phase("texts"):
            texts = (
                artifact.load(Model().directory).encoder(None)
                if households
                else TextEncoder(None, dimensions)
            )
            catalogue = train.make_catalogue(data, texts)
            texts.encode([data.profile(user) for user in data.users])
        context = TrainingContext(plan.of(data), data, catalogue, texts, 0, bars)
        with phase("first stage, examples"):
            examples = train.retrieval_examples(context)
        with phase("first stage, learning"):
            made = Artifact(
                train.learn_retrieval(context, config, examples).cpu(),
                config.name,
                train.VERSION,
                "",
                {},
                {},
            )
        with phase("tables"):
            tables = train.learn_tables(context)
        with phase("second stage, examples"):
            candidates = train.ranking_examples(context, made, tables)
        with phase("second stage, learning"):
            made = replace(
                made,
                ranking_network=ranking_training.fit(candidates, context.plan.until, 0),
                tables=tables[context.plan.until],
            )
        with phase("judging"):
            train.judge(context, made)
    return {
        "households": len(data.users), "events": len(data.user), "products": len(data.products),
        "visits": len(context.visits(context.plan.until)), "retrieval_examples": len(examples.user),
        "ranking_examples": len(candidates.bought), "phases": phase.taken,
    }  # fmt: skip


def render(report: Mapping[str, Any]) -> None:
    """Print the table."""
    found, taken = report["trainings"][0], report["phases"]
    rows = [
        (name, p["seconds"], p["cpu_seconds"], p["peak_bytes"] / MIB, p["left_bytes"] / MIB)
        for name, p in taken.items()
    ]
    whole = [sum(p[name] for p in taken.values()) for name in ("seconds", "cpu_seconds")]
    rows.append(("all", *whole, max(p["peak_bytes"] for p in taken.values()) / MIB, rows[-1][-1]))
    show(
        f"Training on {found['households']:,} households, {found['events']:,} events,"
        f" {found['visits']:,} visits",
        ("phase", "seconds", "CPU seconds", "peak MiB", "MiB left"),
        rows,
    )


def main() -> None:
    options = measure.parser(__doc__, rounds=1).parse_args()
    rounds = 1 if options.quick else options.rounds
    trainings = [alone(measured, HOUSEHOLDS if options.quick else None) for _ in range(rounds)]
    phases = {
        name: {what: median([t["phases"][name][what] for t in trainings]) for what in taken}
        for name, taken in trainings[0]["phases"].items()
    }
    report = {
        "environment": measure.environment(threads=1),
        "trainings": trainings,
        "phases": phases,
    }
    render(report)
    measure.write(options.report, report)


if __name__ == "__main__":
    main()
