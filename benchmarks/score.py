"""Lists a second on one core, by PPRM, over catalogues from 1,000 to 1,000,000 products.

Retrieval is measured alone, and with ranking after it.

Beside it in turn: PPRM without any of it (every candidate's input row made and run through the
network), and ALS (a dot product with every product's factors, and the best ten), which knows
nothing but factors. Beyond the data, products are copies of real ones with noise in their vectors.
The shoppers bought 300 products each. The limit of the machine is measured in the same run:
operations a second of a large matrix product, bytes a second of a pass over an array of the size
that retrieval reads, and what these allow for the numbers that it must read and multiply.
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
from benchmarks.large_shop import NOW, Shop
from pprm.catalogue.catalogue import Catalogue
from pprm.data import complete_journey
from pprm.data.dataset import Dataset
from pprm.ranking.ranker import Ranker
from pprm.retrieval import features
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.retriever import sequences
from pprm.serving import artifact, selection
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import Scorer
from pprm.state.user_state import UserState

ARTIFACT = Path(__file__).parent.parent / "pprm" / "artifacts" / "complete-journey"
WEEKS_AGO = (0, 8, 16, 24)
"""Households are taken as they were then: four lists of each."""
SIZES, BATCHES = (1_000, 11_691, 100_000, 1_000_000), (1, 8, 64, 256)
FACTORS = 64
RANKED = 200
"""Candidates for which the time of ranking is given by itself."""


def main() -> None:
    parser = measure.parser(__doc__, rounds=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sizes, batches, households = (
        (SIZES, BATCHES, 2_500) if not chosen.quick else ((1_000, 11_691), (1, 8), 20)
    )
    rounds = 2 if chosen.quick else chosen.rounds
    loaded = artifact.load(ARTIFACT)
    dataset = complete_journey.load()
    real = real_catalogue(loaded, dataset)
    report: dict[str, Any] = {"environment": measure.environment(), "sizes": {}}
    for size in sizes:
        report["sizes"][size] = _measure(
            loaded, Shop(real, dataset, size), batches, rounds, households
        )
        _show(size, report["sizes"][size])
    shop = Shop(real, dataset, len(real))
    scorer, states = (
        _scorer(loaded, shop, len(real)),
        shop.states(WEEKS_AGO[:1], min(households, 1_000)),
    )
    report["agreement"] = _agreement(scorer, states)
    report["ranking_milliseconds"] = _ranking(scorer, _median(states), rounds)
    measure.console.print_json(
        data={key: report[key] for key in ("agreement", "ranking_milliseconds")}
    )
    measure.write(chosen.report, report)


def real_catalogue(loaded: Artifact, dataset: Dataset) -> Catalogue:
    encoder = loaded.encoder(None)
    products = [p.to_catalogue() for p in dataset.products if p.available]
    catalogue = Catalogue(encoder.dimensions)
    catalogue.put(products, encoder.encode([product.text for product in products]))
    return catalogue


def _scorer(loaded: Artifact, shop: Shop, large: int) -> Scorer:
    """One that looks through blocks where there are more products than `large`."""
    scorer = loaded.scorer(
        shop.catalogue, shop.popularity(), loaded.encoder(None).encode, torch.device("cpu")
    )
    scorer.retriever.large = large
    return scorer


def _measure(
    loaded: Artifact, shop: Shop, batches: tuple[int, ...], rounds: int, households: int
) -> dict[str, Any]:
    size, states = len(shop.catalogue), shop.states(WEEKS_AGO, households)
    whole, by_blocks, als = (
        _scorer(loaded, shop, size),
        _scorer(loaded, shop, 0),
        _Als(shop.catalogue),
    )
    contenders: dict[str, tuple[Callable[[list[UserState]], object], int]] = {
        "ALS": (als.recommend, batches[-1]),
        "naive PPRM": (lambda some: [naive(whole, s) for s in some], 1)
    }  # fmt: skip
    for batch in batches:
        contenders |= {
            f"first stage, batch {batch}": (
                lambda some: whole.score(some, [NOW] * len(some)),
                batch,
            ),
            f"both stages, batch {batch}": (
                lambda some: whole.recommend(some, [NOW] * len(some), 10),
                batch,
            ),
            f"both by blocks, batch {batch}": (
                lambda some: by_blocks.recommend(some, [NOW] * len(some), 10),
                batch,
            ),
        }
    lists = max(1, min(256, 3_000_000 // size))
    timed = {name: _timed(work, states, batch, lists) for name, (work, batch) in contenders.items()}
    milliseconds = {
        name: measure.median(found) for name, found in measure.in_turn(timed, rounds).items()
    }
    milliseconds["limit of the machine"] = _limit(whole)
    best = min(value for name, value in milliseconds.items() if name.startswith("first stage"))
    return {
        "milliseconds": milliseconds,
        "lists_per_second": {name: 1e3 / ms for name, ms in milliseconds.items()},
        "ratios": {
            "naive": milliseconds["naive PPRM"] / best, "als": milliseconds["ALS"] / best,
            "limit": best / milliseconds["limit of the machine"],
        },
        "by_blocks": _same_lists(whole, by_blocks, states),
    }  # fmt: skip


def _same_lists(whole: Scorer, by_blocks: Scorer, states: list[UserState]) -> dict[str, float]:
    """Share of lists that are the same, in order, with all products scored and by blocks."""
    same = 0
    for start in range(0, len(states), 8):
        some = states[start : start + 8]
        all_, ours = (
            scorer.recommend(some, [NOW] * len(some), 10) for scorer in (whole, by_blocks)
        )
        same += sum(
            np.array_equal(one.rows, other.rows) for one, other in zip(all_, ours, strict=True)
        )
    return {"lists": len(states), "same_top_10": same / len(states)}


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
        self.products = torch.from_numpy(
            rng.normal(size=(FACTORS, len(catalogue))).astype(np.float32)
        )
        self.shoppers = torch.from_numpy(rng.normal(size=(1_000, FACTORS)).astype(np.float32))

    def recommend(self, states: list[UserState]) -> Any:
        return torch.topk(self.shoppers[: len(states)] @ self.products, 10)


@torch.inference_mode()
def naive(scorer: Scorer, state: UserState) -> NDArray[np.float32]:
    """Logits of retrieval as a network is usually run.

    Rows of input for all products, through all layers.
    """
    model, catalogue, rows = scorer.model, scorer.catalogue, scorer.candidates
    scorer.popularity.advance(NOW)
    z = model.product_vectors(torch.from_numpy(catalogue.vectors[rows]))
    found, ages, weights = sequences([state], [NOW], catalogue)
    pooled = model.pool(
        model.product_vectors(torch.from_numpy(catalogue.vectors[found])),
        torch.from_numpy(ages),
        torch.from_numpy(weights),
    )
    text = torch.from_numpy(scorer.retriever.encode([state.text.decode()]))
    user = model.user_part(text, torch.from_numpy(features.scalars(state, NOW))[None], pooled)
    matches = torch.einsum("bkd,cd->bck", model.queries(pooled), z)
    popularity = scorer.popularity.features(catalogue.hashes[rows])
    cross = features.dense(features.groups(state, catalogue, NOW), catalogue, rows, popularity)
    first = (
        user[:, None]
        + model.product_layer(z)
        + model.cross_part(torch.from_numpy(cross)[None], matches)
    )
    logits: NDArray[np.float32] = model.head(first)[0].numpy()
    return logits


def _agreement(scorer: Scorer, states: list[UserState]) -> dict[str, float]:
    """Share of shoppers with the same ten best with and without factorising.

    The second result is the largest difference.
    """
    same, difference = 0, 0.0
    for state in states:
        dense, ours = naive(scorer, state), scorer.score([state], [NOW])[0].numpy()
        same += bool(np.array_equal(selection.top(dense), selection.top(ours)))
        difference = max(difference, float(np.abs(dense - ours).max()))
    return {
        "shoppers": len(states),
        "same_top_10": same / len(states),
        "largest_difference": difference,
    }


def _median(states: list[UserState]) -> UserState:
    return sorted(states, key=lambda state: state.purchases)[len(states) // 2]


@torch.inference_mode()
def _ranking(scorer: Scorer, state: UserState, rounds: int) -> dict[str, float]:
    """Milliseconds a list of 200 candidates: their features, and the networks."""
    assert scorer.ranking_network is not None
    found = scorer.candidates_of(state, NOW).candidates
    kept = np.linspace(0, len(found.rows) - 1, RANKED).astype(np.int64)
    found = Candidates(found.rows[kept], found.logits[kept], found.groups)
    ranker, inputs = Ranker(scorer.ranking_network), scorer.candidate_features(state, NOW, found)
    work: dict[str, Callable[[], object]] = {
        "features": lambda: scorer.candidate_features(state, NOW, found),
        "networks": lambda: ranker.logits([inputs]),
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
    """Milliseconds that this core needs at least for the retrieval of one list.

    Per product and hidden unit: three sums of tables, three products with the matches, ReLU, one
    product with the output's weight; and three dot products of the product's vector. Read once:
    both tables and the vectors.
    """
    n, hidden = len(scorer.candidates), scorer.model.config.hidden[0]
    pools, d = len(scorer.model.config.pool_days), scorer.model.config.product
    operations = n * (hidden * (3 + 2 * pools + 1 + 2) + 2 * pools * d)
    read = 4 * n * (hidden + d + 2 * pools)
    return max(operations / _operations_a_second(), read / _bytes_a_second(read)) * 1e3


def _operations_a_second() -> float:
    """Of the faster one of torch's libraries.

    "medium" is oneDNN's, twice MKL's here, and counts where it is exact.
    """
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    exact, seconds = a @ b, min(_seconds(lambda: a @ b) for _ in range(9))
    torch.set_float32_matmul_precision("medium")
    if torch.allclose(a @ b, exact, atol=1e-3):
        seconds = min(seconds, *(_seconds(lambda: a @ b) for _ in range(9)))
    torch.set_float32_matmul_precision("highest")
    return 2 * 1024**3 / seconds


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
    measure.console.print(
        {name: round(value, 2) for name, value in found["ratios"].items()}, found["by_blocks"]
    )


if __name__ == "__main__":
    main()
