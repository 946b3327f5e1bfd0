"""Lists a second on one core: both stages of PPRM over catalogues from 1,000 to 1,000,000 products.

Beside it in turn: PPRM without any of it (every candidate's input row made and run through the network), and ALS (a dot
product with every product's factors, and the best ten), which knows nothing but factors. Beyond the data, products are
copies of real ones with noise in their vectors. The shoppers bought 300 products each. The limit of the machine is
measured in the same run: operations a second of a large matrix product, bytes a second of a pass over an array of the
size that the first stage reads, and what these allow for the numbers that it must read and multiply.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import measure
from pprm import artifact, features, metrics
from pprm.artifact import Artifact
from pprm.catalogue import Catalogue
from pprm.datasets import complete_journey
from pprm.events import Interaction, Kind, Position
from pprm.first_stage import sequences
from pprm.fold import fold
from pprm.popularity import Popularity, Purchase
from pprm.scorer import Scorer
from pprm.second_stage import predict
from pprm.user_state import UserState

ARTIFACT = Path(__file__).parent.parent / "pprm" / "artifacts" / "complete-journey"
NOW = 1_512_000_000
BOUGHT = 300
SIZES, BATCHES = (1_000, 11_691, 100_000, 1_000_000), (1, 8, 64, 256)
FACTORS = 64
SECOND_STAGE = 200
"""Candidates for which the second stage's time is given by itself."""


def main() -> None:
    parser = measure.parser(__doc__, rounds=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sizes, batches, shoppers = (SIZES, BATCHES, 1_000) if not chosen.quick else ((1_000, 11_691), (1, 8), 20)
    rounds = 2 if chosen.quick else chosen.rounds
    loaded = artifact.load(ARTIFACT)
    real = _real_catalogue(loaded)
    report: dict[str, Any] = {"environment": measure.environment(), "sizes": {}}
    for size in sizes:
        report["sizes"][size] = _measure(loaded, real, size, batches, rounds)
        _show(size, report["sizes"][size])
    scorer = _scorer(loaded, real)
    report["agreement"] = _agreement(scorer, [shopper(real, seed) for seed in range(shoppers)])
    report["second_stage_milliseconds"] = _second_stage(scorer, shopper(real, 0), rounds)
    measure.console.print_json(data={key: report[key] for key in ("agreement", "second_stage_milliseconds")})
    measure.write(chosen.report, report)


def shopper(catalogue: Catalogue, seed: int) -> UserState:
    """Somebody who bought 300 random products in 200 days."""
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(catalogue.available)
    hashes = catalogue.hashes[rng.choice(known, BOUGHT)].tolist()
    times = np.sort(rng.integers(NOW - 200 * 86_400, NOW, BOUGHT)).tolist()
    events = [
        Interaction(Position(0, 0, i), Kind.PURCHASE, hashed, time, time // 86_400)
        for i, (hashed, time) in enumerate(zip(hashes, times, strict=True))
    ]
    return fold(UserState(), events).state


def _real_catalogue(loaded: Artifact) -> Catalogue:
    encoder = loaded.encoder(None)
    products = [p.to_catalogue() for p in complete_journey.load().products if p.available]
    catalogue = Catalogue(encoder.dimensions)
    catalogue.put(products, encoder.encode([product.text for product in products]))
    return catalogue


def _of_size(real: Catalogue, size: int) -> Catalogue:
    """The first products of a catalogue, or copies of them with noise in their vectors."""
    rng, made, n = np.random.default_rng(0), Catalogue(real.vectors.shape[1]), len(real)
    names = [list(codes) for codes in (real.types, real.categories, real.makers)]
    for start in range(0, size, 50_000):
        rows = np.arange(start, min(start + 50_000, size))
        noise = rng.normal(scale=0.01, size=(len(rows), real.vectors.shape[1])).astype(np.float32)
        made.put(
            [_copy(real, int(row), n, names) for row in rows], real.vectors[rows % n] + noise * (rows >= n)[:, None]
        )
    return made


def _copy(real: Catalogue, row: int, n: int, names: list[list[str]]) -> Any:
    from pprm.catalogue import Product

    type_, category, maker = (names[i][code] for i, code in enumerate(real.codes[row % n]))
    # copies are of other makers and, one in two, of another type: a larger shop is broader, not only deeper
    times = row // n
    return Product(f"{real.ids[row % n]}-{times}", "", f"{type_}-{times // 2}", category, f"{maker}-{times}")


def _scorer(loaded: Artifact, catalogue: Catalogue) -> Scorer:
    popularity, rng = Popularity(), np.random.default_rng(0)
    bought = catalogue.hashes[rng.choice(len(catalogue), 5_000)].tolist()
    popularity.add(Purchase(hashed, NOW - 86_400) for hashed in bought)
    return loaded.scorer(catalogue, popularity, loaded.encoder(None).encode, torch.device("cpu"))


def _measure(loaded: Artifact, real: Catalogue, size: int, batches: tuple[int, ...], rounds: int) -> dict[str, Any]:
    catalogue = _of_size(real, size)
    scorer, als = _scorer(loaded, catalogue), _Als(catalogue)
    states = [shopper(catalogue, seed) for seed in range(max(batches))]
    contenders: dict[str, tuple[Callable[[list[UserState]], object], int]] = {
        "ALS": (als.recommend, batches[-1]), "naive PPRM": (lambda some: [naive(scorer, s) for s in some], 1)
    }  # fmt: skip
    for batch in batches:
        contenders[f"first stage, batch {batch}"] = (lambda some: scorer.score(some, [NOW] * len(some)), batch)
        contenders[f"both stages, batch {batch}"] = (lambda some: scorer.recommend(some, [NOW] * len(some), 10), batch)
    lists = max(1, min(256, 3_000_000 // size))
    timed = {name: _timed(work, states, batch, lists) for name, (work, batch) in contenders.items()}
    milliseconds = {name: measure.median(found) for name, found in measure.in_turn(timed, rounds).items()}
    milliseconds["limit of the machine"] = _limit(scorer)
    best = min(value for name, value in milliseconds.items() if name.startswith("first stage"))
    return {
        "milliseconds": milliseconds, "lists_per_second": {name: 1e3 / ms for name, ms in milliseconds.items()},
        "ratios": {
            "naive": milliseconds["naive PPRM"] / best, "als": milliseconds["ALS"] / best,
            "limit": best / milliseconds["limit of the machine"],
        },
    }  # fmt: skip


def _timed(
    work: Callable[[list[UserState]], object], states: list[UserState], batch: int, lists: int
) -> Callable[[], float]:
    """Milliseconds a list of CPU time, so that what else runs on the machine counts for less."""
    work(states[:batch])
    times = max(1, min(lists, 64) // batch)

    def once() -> float:
        started = time.process_time()
        for number in range(times):
            at = number * batch % len(states)
            work((states + states)[at : at + batch])
        return (time.process_time() - started) * 1e3 / (times * batch)

    return once


class _Als:
    """Factors of shoppers and products, and the ten best of all dot products."""

    def __init__(self, catalogue: Catalogue) -> None:
        rng = np.random.default_rng(0)
        self.products = torch.from_numpy(rng.normal(size=(FACTORS, len(catalogue))).astype(np.float32))
        self.shoppers = torch.from_numpy(rng.normal(size=(1_000, FACTORS)).astype(np.float32))

    def recommend(self, states: list[UserState]) -> Any:
        return torch.topk(self.shoppers[: len(states)] @ self.products, 10)


@torch.inference_mode()
def naive(scorer: Scorer, state: UserState) -> NDArray[np.float32]:
    """Logits of the first stage as a network is usually run: rows of input for all products, through all layers."""
    model, catalogue, rows = scorer.model, scorer.catalogue, scorer.candidates
    scorer.popularity.advance(NOW)
    z = model.product_vectors(torch.from_numpy(catalogue.vectors[rows]))
    found, ages, weights = sequences([state], [NOW], catalogue)
    pooled = model.pool(
        model.product_vectors(torch.from_numpy(catalogue.vectors[found])),
        torch.from_numpy(ages),
        torch.from_numpy(weights),
    )
    text = torch.from_numpy(scorer.first.encode([state.text.decode()]))
    user = model.user_part(text, torch.from_numpy(features.scalars(state, NOW))[None], pooled)
    matches = torch.einsum("bkd,cd->bck", model.queries(pooled), z)
    popularity = scorer.popularity.features(catalogue.hashes[rows])
    cross = features.dense(features.groups(state, catalogue, NOW), catalogue, rows, popularity)
    first = user[:, None] + model.product_layer(z) + model.cross_part(torch.from_numpy(cross)[None], matches)
    logits: NDArray[np.float32] = model.head(first)[0].numpy()
    return logits


def _agreement(scorer: Scorer, states: list[UserState]) -> dict[str, float]:
    """Share of shoppers whose ten best are the same with and without factorising, and the largest difference."""
    same, difference = 0, 0.0
    for state in states:
        dense, ours = naive(scorer, state), scorer.score([state], [NOW])[0].numpy()
        same += bool(np.array_equal(metrics.top(dense), metrics.top(ours)))
        difference = max(difference, float(np.abs(dense - ours).max()))
    return {"shoppers": len(states), "same_top_10": same / len(states), "largest_difference": difference}


@torch.inference_mode()
def _second_stage(scorer: Scorer, state: UserState, rounds: int) -> dict[str, float]:
    """Milliseconds a list of 200 candidates: their features, and the networks."""
    assert scorer.second is not None
    found = scorer.candidates_of(state, NOW).candidates
    keep = np.linspace(0, len(found.rows) - 1, SECOND_STAGE).astype(np.int64)
    second, inputs = scorer.second, scorer.candidate_features(state, NOW, found, keep)
    work: dict[str, Callable[[], object]] = {
        "features": lambda: scorer.candidate_features(state, NOW, found, keep),
        "networks": lambda: predict(second, inputs),
    }
    taken = measure.in_turn({name: _per_call(call) for name, call in work.items()}, rounds)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {**medians, "together": sum(medians.values())}


def _per_call(call: Callable[[], object], times: int = 200) -> Callable[[], float]:
    call()

    def once() -> float:
        started = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - started) * 1e3 / times

    return once


def _limit(scorer: Scorer) -> float:
    """Milliseconds that this core needs at least for the first stage of one list.

    Per product and hidden unit: three sums of tables, three products with the matches, ReLU, one product with the
    output's weight; and three dot products of the product's vector. Read once: both tables and the vectors.
    """
    n, hidden = len(scorer.candidates), scorer.model.config.hidden[0]
    pools, d = len(scorer.model.config.pool_days), scorer.model.config.product
    operations = n * (hidden * (3 + 2 * pools + 1 + 2) + 2 * pools * d)
    read = 4 * n * (hidden + d + 2 * pools)
    return max(operations / _operations_a_second(), read / _bytes_a_second(read)) * 1e3


def _operations_a_second() -> float:
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / min(_seconds(lambda: a @ b) for _ in range(9))


def _bytes_a_second(size: int) -> float:
    array = torch.ones(max(size // 4, 1))
    return size / min(_seconds(array.sum) for _ in range(9))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _show(size: int, found: dict[str, Any]) -> None:
    rows = [(name, ms, 1e3 / ms) for name, ms in found["milliseconds"].items()]
    measure.show(f"{size:,} products", ("", "ms a list", "lists a second"), rows)
    measure.console.print({name: round(value, 2) for name, value in found["ratios"].items()})


if __name__ == "__main__":
    main()
