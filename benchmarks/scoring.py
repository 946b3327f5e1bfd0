"""Full-catalogue scoring: factorised against the plain network, interleaved in one run, medians and the ratio.

python benchmarks/scoring.py [--users 20] [--rounds 7]. The catalogue and the model are the bundled ones; the shoppers
bought 300 products each. The plain network computes every candidate's input row and runs it through all layers.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from pprm import artifact, features
from pprm.catalogue import Catalogue
from pprm.datasets import complete_journey
from pprm.events import Interaction, Kind, Position
from pprm.fold import fold
from pprm.popularity import Popularity
from pprm.scorer import Scorer, sequences
from pprm.train import make_catalogue
from pprm.user_state import UserState

ARTIFACT = Path(__file__).parent.parent / "pprm" / "artifacts" / "complete-journey"
NOW = 1_512_000_000
PRODUCTS = 300


def shopper(catalogue: Catalogue, seed: int) -> UserState:
    rng = np.random.default_rng(seed)
    hashes = catalogue.hashes[rng.integers(0, len(catalogue), PRODUCTS)].tolist()
    times = np.sort(rng.integers(NOW - 200 * 86_400, NOW, PRODUCTS)).tolist()
    events = zip(hashes, times, strict=True)
    return fold(
        UserState(), [Interaction(Position(0, 0, i), Kind.PURCHASE, h, t) for i, (h, t) in enumerate(events)]
    ).state


@torch.inference_mode()
def plain(scorer: Scorer, state: UserState) -> torch.Tensor:
    model, catalogue, rows = scorer.model, scorer.catalogue, scorer.candidates
    z = model.product_vectors(torch.from_numpy(catalogue.vectors[rows]))
    found, ages, weights = sequences([state], [NOW], catalogue)
    pooled = model.pool(
        model.product_vectors(torch.from_numpy(catalogue.vectors[found])),
        torch.from_numpy(ages),
        torch.from_numpy(weights),
    )
    text = torch.from_numpy(scorer.encode([state.text.decode()]))
    user = model.user_part(text, torch.from_numpy(features.scalars(state, NOW))[None], pooled)
    matches = torch.einsum("bkd,cd->bck", model.queries(pooled), z)
    popularity = scorer.popularity.features(catalogue.hashes[rows])
    cross = features.dense(features.groups(state, catalogue, NOW), catalogue, rows, popularity)
    return model.head(user[:, None] + model.product_layer(z) + model.cross_part(torch.from_numpy(cross)[None], matches))


def milliseconds(work: Callable[[UserState], object], states: list[UserState]) -> float:
    started = time.perf_counter()
    for state in states:
        work(state)
    return (time.perf_counter() - started) * 1e3 / len(states)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=20)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    loaded = artifact.load(ARTIFACT)
    encoder = loaded.encoder(None)
    catalogue = make_catalogue(complete_journey.load(), encoder)
    scorer = Scorer(loaded.model, catalogue, Popularity(), encoder.encode, torch.device("cpu"))
    states = [shopper(catalogue, seed) for seed in range(chosen.users)]
    scorer.score(states[:1], [NOW])
    difference = max(float((scorer.score([s], [NOW]) - plain(scorer, s)).abs().max()) for s in states)
    contenders = {"factorised": lambda s: scorer.score([s], [NOW]), "plain": lambda s: plain(scorer, s)}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(chosen.rounds):
        for name, work in contenders.items():
            taken[name].append(milliseconds(work, states))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    console = Console()
    console.print(f"{len(scorer.candidates):,} candidates, one thread, largest difference of a logit {difference:.1e}")
    for name, median in medians.items():
        console.print(f"{name:>10}: {median:7.2f} ms per shopper (median of {chosen.rounds})")
    console.print(f"{'ratio':>10}: {medians['plain'] / medians['factorised']:7.1f}")


if __name__ == "__main__":
    main()
