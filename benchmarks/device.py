"""A micro-batch by the clock, on a GPU with `--device cuda`.

Candidates alone, whole lists, and what the GPU computes.

Catalogues and shoppers are those of `benchmarks.score`. Beside it, in turn, the same on one core of
the CPU in compiled loops, and the share of candidates that are the same. `GPU` is the time of its
kernels and transfers, added up: what the clock has beyond it is the host preparing inputs and
features, and waiting. Lists a second are those of whole lists.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import measure
from benchmarks.large_shop import NOW, Shop
from benchmarks.score import ARTIFACT, WEEKS_AGO, real_catalogue
from pprm.data import complete_journey
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import Scorer, choose_device
from pprm.state.user_state import UserState

SIZES, BATCHES = (11_691, 100_000, 1_000_000), (1, 8, 64)
NOTHING = np.zeros(0, np.int64)


def main() -> None:
    parser = measure.parser(__doc__, rounds=7)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(chosen.device)
    sizes, batches, rounds = (
        (SIZES, BATCHES, chosen.rounds) if not chosen.quick else ((1_000,), (1, 8), 2)
    )
    loaded, to_move, dataset = (
        artifact.load(ARTIFACT),
        artifact.load(ARTIFACT),
        complete_journey.load(),
    )
    real = real_catalogue(loaded, dataset)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    report: dict[str, Any] = {"environment": measure.environment(device=name), "sizes": {}}
    for size in sizes:
        shop = Shop(real, dataset, size)
        states = shop.states(WEEKS_AGO[:1], max(batches))
        cpu, there = _scorer(loaded, shop, "cpu"), _scorer(to_move, shop, device.type)
        found = report["sizes"][size] = {
            batch: _measure(cpu, there, states[:batch], rounds) for batch in batches
        }
        found["same_candidates"] = _same(cpu, there, states)
        rows = [(batch, *found[batch].values()) for batch in batches]
        measure.show(
            f"{size:,} products, ms a micro-batch on {name}", ("shoppers", *found[batches[0]]), rows
        )
    measure.write(chosen.report, report)


def _scorer(loaded: Artifact, shop: Shop, device: str) -> Scorer:
    return loaded.scorer(
        shop.catalogue, shop.popularity(), loaded.encoder(None).encode, torch.device(device)
    )


def _measure(cpu: Scorer, there: Scorer, states: list[UserState], rounds: int) -> dict[str, float]:
    work: dict[str, Callable[[], object]] = {
        "candidates": lambda: _candidates(there, states),
        "both stages": lambda: there.recommend(states, [NOW] * len(states), 10),
        "candidates, CPU": lambda: _candidates(cpu, states),
        "both stages, CPU": lambda: cpu.recommend(states, [NOW] * len(states), 10),
    }
    taken = measure.in_turn({name: _timed(call) for name, call in work.items()}, rounds)
    milliseconds = {name: measure.median(values) for name, values in taken.items()}
    return {
        **milliseconds,
        "lists/s": len(states) * 1e3 / milliseconds["both stages"],
        "lists/s, CPU": len(states) * 1e3 / milliseconds["both stages, CPU"],
        "candidates, GPU": _of_gpu(work["candidates"]),
        "both stages, GPU": _of_gpu(work["both stages"]),
    }  # fmt: skip


def _candidates(scorer: Scorer, states: Sequence[UserState]) -> list[set[int]]:
    found = dict(scorer.retriever.retrieve(states, [NOW] * len(states), [NOTHING] * len(states)))
    return [set(found[i].columns.tolist()) for i in range(len(states))]


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    call()

    def once() -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3

    return once


def _of_gpu(call: Callable[[], object], times: int = 3) -> float:
    """Milliseconds of kernels and transfers of one call; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(times):
            call()
    return sum(event.self_device_time_total for event in profiled.key_averages()) / 1e3 / times


def _same(cpu: Scorer, there: Scorer, states: list[UserState]) -> float:
    """Share of the CPU's candidates that are the device's, too."""
    pairs = list(zip(_candidates(cpu, states), _candidates(there, states), strict=True))
    return sum(len(a & b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


if __name__ == "__main__":
    main()
