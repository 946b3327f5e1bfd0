"""The pass for GPUs against the compiled one.

It runs here on the CPU, and on a GPU where there is one.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.ranking.network import RankingNetwork
from pprm.retrieval import device_pass
from pprm.retrieval.candidates import LOOKED, NEW, SEEN
from pprm.retrieval.device_pass import first_best
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.retrieval.retriever import Retrieved
from pprm.serving.scorer import Scorer
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from tests.unit.serving.test_scorer import (
    CONFIG,
    DEEP,
    NOW,
    PAPER,
    dense_logits,
    make,
    product,
    ranking_network,
    vectors,
    with_ranking,
)

DAY = 86_400
PRODUCTS = 900
NOTHING = np.zeros(0, np.int64)


def on_device(
    n: int = PRODUCTS,
    config: PPRMConfig = CONFIG,
    device: str = "cpu",
    network: RankingNetwork | None = None,
) -> Scorer:
    """As `make`, but never compiled."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PPRM, "is_light", False)
        return make(n, config, device, network)


def shopper(seed: int, bought: int, looked: int = 0) -> UserState:
    """A shopper of products that are in the catalogue, not available, and unknown."""
    rng = np.random.default_rng(seed)
    events = [
        Interaction(
            Position(kind != Kind.PURCHASE, 0, i), kind, hashed, NOW - (n - i) * 9_000, i // 4 + 1
        )
        for kind, n in ((Kind.PURCHASE, bought), (Kind.VIEW, looked))
        for i, hashed in enumerate(stable_hash(f"p{p}") for p in rng.permutation(PRODUCTS + 60)[:n])
    ]
    return fold(UserState(), sorted(events, key=lambda event: event.time)).state


SHOPPERS = [
    shopper(seed, bought, looked)
    for seed, (bought, looked) in enumerate(
        [(0, 0), (40, 0), (400, 80), (0, 60), (3, 5), (250, 20), (1, 1), (150, LOOKED)]
    )
]
DAYS = [NOW, NOW + DAY, NOW, NOW, NOW + 2 * DAY, NOW, NOW + DAY, NOW]


def retrieved(
    scorer: Scorer,
    states: Sequence[UserState],
    nows: Sequence[float],
    excluded: Sequence[NDArray[np.int64]] | None,
) -> list[Retrieved]:
    found = dict(scorer.retriever.retrieve(states, nows, excluded or [NOTHING] * len(states)))
    return [found[i] for i in range(len(states))]


def same(expected: list[Retrieved], found: list[Retrieved]) -> None:
    for a, b in zip(expected, found, strict=True):
        assert a.columns.tolist() == b.columns.tolist()
        assert a.candidates.rows.tolist() == b.candidates.rows.tolist()
        assert a.seen.tolist() == b.seen.tolist()
        assert np.allclose(a.candidates.logits, b.candidates.logits, atol=1e-5)


def left_out(scorer: Scorer, states: Sequence[UserState]) -> list[NDArray[np.int64]]:
    """Every third product that each bought, and some that they may not have."""
    more = np.r_[np.arange(0, PRODUCTS, 7), -1]
    return [np.r_[scorer.catalogue.rows(state.product_keys()[::3]), more] for state in states]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("excludes", [False, True])
def test_candidates_are_those_of_the_compiled_pass(batch: int, excludes: bool) -> None:
    compiled, device = make(PRODUCTS), on_device()
    for start in range(0, len(SHOPPERS), batch):
        states, nows = (
            SHOPPERS[start : start + batch],
            DAYS[:1] * len(SHOPPERS[start : start + batch]),
        )
        excluded = left_out(compiled, states) if excludes else None
        same(retrieved(compiled, states, nows, excluded), retrieved(device, states, nows, excluded))
        assert torch.allclose(compiled.score(states, nows), device.score(states, nows), atol=1e-5)


def test_every_shopper_is_judged_on_a_day_of_their_own() -> None:
    same(
        retrieved(make(PRODUCTS), SHOPPERS, DAYS, None),
        retrieved(on_device(), SHOPPERS, DAYS, None),
    )


@pytest.mark.parametrize("config", [DEEP, PAPER], ids=["deep", "paper"])
def test_candidates_of_other_networks_are_the_best_by_their_logits(config: PPRMConfig) -> None:
    scorer = make(PRODUCTS, config)
    for state, found in zip(SHOPPERS, retrieved(scorer, SHOPPERS, [NOW] * 8, None), strict=True):
        ((_, logits, groups),) = scorer.retriever.score([state], [NOW])
        same([scorer.retriever.find(state, logits, groups)], [found])


@pytest.mark.parametrize("pools", [1, 4, 7])
def test_any_number_of_pooled_means_is_scored(pools: int) -> None:
    scorer = make(90, replace(CONFIG, pool_days=tuple(4.0 * 2**k for k in range(pools))))
    for state, logits in zip(SHOPPERS, scorer.score(SHOPPERS, [NOW] * 8), strict=True):
        assert torch.allclose(logits, dense_logits(scorer, state, NOW), atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, DEEP], ids=["one layer", "deep"])
def test_neither_blocks_nor_the_shoppers_of_a_call_change_anything(
    config: PPRMConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = on_device(config=config)
    expected, logits = retrieved(whole, SHOPPERS, DAYS, None), whole.score(SHOPPERS, DAYS)
    monkeypatch.setitem(device_pass.BLOCKS, "cpu", 5_000)
    for most in (150_000, 1):
        monkeypatch.setattr(device_pass, "MOST_AT_ONCE", most)
        pieces = on_device(config=config)  # a new one: days do not go back
        same(expected, retrieved(pieces, SHOPPERS, DAYS, None))
        assert torch.allclose(logits, pieces.score(SHOPPERS, DAYS), atol=1e-6)


@pytest.mark.parametrize(
    "more", [5, 300], ids=["in the room there is", "more than there is room for"]
)
def test_a_changed_catalogue_is_scored_as_it_is(more: int) -> None:
    compiled, device = make(PRODUCTS), on_device()
    for scorer in (compiled, device):
        scorer.score(SHOPPERS[:1], [NOW])
        scorer.catalogue.put(
            [
                product(
                    PRODUCTS + i, type=f"new {i}", category=f"new {i % 9}", maker=f"new {i % 70}"
                )
                for i in range(more)
            ],
            vectors(["new " * i for i in range(more)]),
        )
        scorer.catalogue.withdraw([f"p{i}" for i in range(20)])
    same(retrieved(compiled, SHOPPERS, DAYS, None), retrieved(device, SHOPPERS, DAYS, None))
    # fewer than before: what is gone must not come back from the room
    for scorer in (compiled, device):
        scorer.catalogue.withdraw([f"p{i}" for i in range(20, 500)])
    same(
        retrieved(compiled, SHOPPERS, DAYS[::-1], None),
        retrieved(device, SHOPPERS, DAYS[::-1], None),
    )
    assert torch.allclose(compiled.score(SHOPPERS, DAYS), device.score(SHOPPERS, DAYS), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 90])
def test_fewer_products_than_candidates_are_all_candidates(n: int) -> None:
    compiled, device = make(max(n, 1)), on_device(max(n, 1))
    for scorer in (compiled, device):
        if not n:
            scorer.catalogue.withdraw(["p0"])
    found = retrieved(device, SHOPPERS, DAYS, None)
    same(retrieved(compiled, SHOPPERS, DAYS, None), found)
    assert all(len(one.columns) <= len(device.candidates) for one in found)
    assert len(found[0].columns) == len(device.candidates)


def test_of_equal_products_the_first_are_candidates() -> None:
    device = on_device()
    for parameter in device.model.parameters():
        parameter.data.zero_()
    tied = Scorer(device.model, device.catalogue, device.popularity, vectors, device.device)
    assert torch.equal(tied.score(SHOPPERS, DAYS), torch.zeros(8, len(tied.candidates)))
    for found in retrieved(tied, SHOPPERS[:1], [NOW], None):
        assert found.columns.tolist() == list(range(NEW))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_are_the_first_of_equal_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-9, 9, (3, 700)).astype(np.float32) / np.float32(
        rng.choice([2, 1e30, -3])
    )
    values[rng.random((3, 700)) < 0.2] = rng.choice([-np.inf, 0.0, -0.0])
    best = np.argsort(-values, 1, kind="stable")[:, :SEEN]
    assert np.array_equal(
        np.sort(best), np.sort(first_best(torch.from_numpy(values), SEEN).numpy())
    )


def test_both_zeros_are_equal() -> None:
    zeros = torch.tensor([[0.0, -0.0] * 50, [-0.0, 0.0] * 50])
    assert first_best(zeros, 30).sort().values.tolist() == [list(range(30))] * 2


def test_what_is_recorded_stays_valid_while_there_is_room() -> None:
    scorer = on_device()

    def addresses() -> list[int]:
        scorer.score(SHOPPERS[:1], [NOW])
        assert scorer.retriever._pass
        return [table.data_ptr() for table in scorer.retriever._pass._resident]

    before = addresses()
    scorer.catalogue.put([product(PRODUCTS + i) for i in range(50)], vectors(["new"] * 50))
    assert addresses() == before
    scorer.catalogue.put([product(PRODUCTS + i) for i in range(300)], vectors(["new"] * 300))
    assert addresses() != before


def test_a_coarse_precision_decides_at_the_border_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pprm.retrieval.retriever.precision", lambda device: torch.bfloat16)
    compiled, coarse = make(PRODUCTS), on_device()
    states, nows = SHOPPERS, [NOW] * 8
    assert torch.allclose(compiled.score(states, nows), coarse.score(states, nows), atol=1e-5)
    pairs = list(
        zip(
            retrieved(compiled, states, nows, None),
            retrieved(coarse, states, nows, None),
            strict=True,
        )
    )
    shared = 0
    for expected, found in pairs:
        _, a, b = np.intersect1d(expected.columns, found.columns, return_indices=True)
        assert len(expected.columns) == len(found.columns)
        assert np.allclose(expected.candidates.logits[a], found.candidates.logits[b], atol=1e-5)
        shared += len(a)
    assert shared >= 0.97 * sum(len(expected.columns) for expected, _ in pairs)


def test_lists_of_both_stages_are_those_of_the_compiled_pass() -> None:
    compiled, device = with_ranking(PRODUCTS), on_device(network=ranking_network())
    for a, b in zip(
        compiled.recommend(SHOPPERS, DAYS, 10), device.recommend(SHOPPERS, DAYS, 10), strict=True
    ):
        assert a.rows.tolist() == b.rows.tolist() and a.reasons == b.reasons
        assert np.allclose(a.scores, b.scores, atol=1e-5)


@pytest.fixture(scope="module")
def gpu() -> Iterator[Scorer]:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield with_ranking(PRODUCTS, device="cuda")


def nearly_same(expected: list[Retrieved], found: list[Retrieved]) -> None:
    """Of candidates some of which were chosen in the device's fast precision."""
    for a, b in zip(expected, found, strict=True):
        both, of_a, of_b = np.intersect1d(a.columns, b.columns, return_indices=True)
        assert len(a.columns) == len(b.columns) and len(both) >= 0.95 * len(a.columns)
        assert np.allclose(a.candidates.logits[of_a], b.candidates.logits[of_b], atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_scores_as_a_cpu_when_recorded_and_when_replayed(gpu: Scorer) -> None:
    compiled = make(PRODUCTS)
    for states in (SHOPPERS, SHOPPERS[::-1], SHOPPERS[:3], SHOPPERS[3:6]):
        nows = [NOW + 3 * DAY] * len(states)
        assert torch.allclose(compiled.score(states, nows), gpu.score(states, nows), atol=1e-4)
        for excluded in (None, left_out(compiled, states)):
            nearly_same(
                retrieved(compiled, states, nows, excluded), retrieved(gpu, states, nows, excluded)
            )


@pytest.mark.gpu
@pytest.mark.parametrize("config", [DEEP, PAPER], ids=["deep", "paper"])
def test_a_gpu_scores_other_networks_as_a_cpu(gpu: Scorer, config: PPRMConfig) -> None:
    cpu, other = make(PRODUCTS, config), make(PRODUCTS, config, "cuda")
    assert torch.allclose(cpu.score(SHOPPERS, DAYS), other.score(SHOPPERS, DAYS), atol=1e-4)
    nearly_same(retrieved(cpu, SHOPPERS, DAYS, None), retrieved(other, SHOPPERS, DAYS, None))


@pytest.mark.gpu
def test_calls_of_a_gpu_that_overlap_change_nothing(
    gpu: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nows = [NOW + 3 * DAY] * 64
    whole = retrieved(gpu, SHOPPERS * 8, nows, None)
    # so there are 32: each is sent while another one runs
    monkeypatch.setattr(device_pass, "MOST_SHOPPERS", 2)
    for _ in range(5):
        same(whole, retrieved(gpu, SHOPPERS * 8, nows, None))


@pytest.mark.gpu
def test_a_gpu_records_while_another_thread_uses_it(gpu: Scorer) -> None:
    stop = Event()

    def use() -> int:
        sizes = 0
        while not stop.is_set():
            sizes += 1 << 16  # ever more, which the allocator does not have
            torch.ones(sizes % (1 << 24) + 1, device="cuda").sum().item()
        return sizes

    with ThreadPoolExecutor(1) as pool:
        used = pool.submit(use)
        try:
            for most in (1, 2, 4, 8):  # a recording each
                other = make(PRODUCTS, device="cuda")
                states, nows = SHOPPERS[:most], [NOW] * most
                nearly_same(
                    retrieved(make(PRODUCTS), states, nows, None),
                    retrieved(other, states, nows, None),
                )
        finally:
            stop.set()
        assert used.result() > 0


@pytest.mark.gpu
def test_a_gpu_takes_in_a_changed_catalogue_without_a_new_recording(gpu: Scorer) -> None:
    gpu.recommend(SHOPPERS, DAYS, 10)
    compiled = with_ranking(PRODUCTS)
    for scorer in (compiled, gpu):
        scorer.catalogue.withdraw([f"p{i}" for i in range(300)])
    nows = [NOW + 5 * DAY] * 8
    assert torch.allclose(compiled.score(SHOPPERS, nows), gpu.score(SHOPPERS, nows), atol=1e-4)
    for ranking in gpu.recommend(SHOPPERS, nows, 10):
        assert len(ranking.rows) == 10 and not set(ranking.rows.tolist()) & set(range(300))
