"""Listings come and go.

Memory stays flat, what was bought stays known, and lists are those of a fresh catalogue.
"""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pprm.catalogue import catalogue as catalogues
from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.codes import Codes
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.retrieval.model import PPRM
from pprm.serving.scorer import Scorer
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from tests.unit.serving.test_scorer import CONFIG, NOW, ranking_network

DIM, LIVE, ROUND, ROUNDS = 16, 300, 500, 40


def listing(number: int) -> Product:
    """Without categories, so that each is a type of its own, as its title says."""
    name = f"listing {number}"
    return Product(
        name,
        name,
        name,
        f"category {number % 50}",
        f"maker {number}",
        promotions=((0, 1 << 31, 0, 2),),
    )


def vectors(products: list[Product]) -> np.ndarray:
    return np.array(
        [np.random.default_rng(int(p.product_id.split()[1])).normal(size=DIM) for p in products],
        np.float32,
    )


def put(catalogue: Catalogue, products: list[Product]) -> None:
    catalogue.put(products, vectors(products))


def shopper(bought: list[int]) -> UserState:
    events = [
        Interaction(
            Position(0, 0, i),
            Kind.PURCHASE,
            stable_hash(f"listing {p}"),
            NOW - 86_400 * (60 - i),
            i,
        )
        for i, p in enumerate(bought)
    ]
    return fold(UserState(), events).state


def churned(
    popularity: Popularity, bought: set[int], rounds: int = ROUNDS
) -> tuple[Catalogue, list[int]]:
    """A shop that always sells the same, while listings come and go.

    And what its memory was after each round.
    """
    catalogue, sizes = Catalogue(DIM, popularity.knows), []
    put(catalogue, [listing(number) for number in range(LIVE)])
    for turn in range(1, rounds + 1):
        new = [listing(turn * 1_000 + number) for number in range(ROUND)]
        put(catalogue, new)
        popularity.add(
            Purchase(stable_hash(p.product_id), NOW - 86_400, True)
            for p in new
            if int(p.product_id.split()[1]) in bought
        )
        catalogue.withdraw([product.product_id for product in new])
        sizes.append(tracemalloc.get_traced_memory()[0])
    return catalogue, sizes


def test_memory_is_flat_while_listings_come_and_go() -> None:
    stable_hash.cache_clear()
    stable_hash("warm")
    tracemalloc.start()
    try:
        catalogue, sizes = churned(Popularity(), set())
    finally:
        tracemalloc.stop()
    assert (
        len(catalogue) <= LIVE + catalogues.KEPT_WITHDRAWN + ROUND
        and catalogue.available.sum() == LIVE
    )
    assert len(catalogue.types) <= len(catalogue) and len(catalogue.makers) <= len(catalogue)
    ids = ROUND * 30 * 400  # what stable_hash remembers of 15,000 ids
    assert sizes[-1] - sizes[9] < ids / 2 + 1_000_000
    assert len(catalogue.promotions) == LIVE


def compiled(catalogue: Catalogue, popularity: Popularity) -> Scorer:
    torch.manual_seed(0)
    model = PPRM(CONFIG)
    model.text_axes.copy_(torch.randn(DIM, 8))
    texts = lambda texts: np.zeros((len(texts), DIM), np.float32)  # noqa: E731
    return Scorer(model, catalogue, popularity, texts, torch.device("cpu"), ranking_network())


def by_blocks(catalogue: Catalogue, popularity: Popularity) -> Scorer:
    scorer = compiled(catalogue, popularity)
    scorer.retriever.large = 0
    return scorer


def on_device(catalogue: Catalogue, popularity: Popularity) -> Scorer:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PPRM, "is_light", False)
        return compiled(catalogue, popularity)


@pytest.mark.parametrize("way", [compiled, by_blocks, on_device])
def test_lists_are_those_of_a_fresh_catalogue(
    way: Callable[[Catalogue, Popularity], Scorer],
) -> None:
    gone = [1_007, 2_003, 5_499, 9_000]
    popularity = Popularity()
    catalogue, _ = churned(popularity, set(gone), rounds=10)
    scorer = way(catalogue, popularity)
    states = [shopper([3, 5, *gone, 8]), shopper(gone), shopper([1, 2]), UserState()]
    scorer.recommend(states, [NOW] * 4, 10)  # it has tables of the catalogue as it was
    new = [listing(50_000 + number) for number in range(1_200)]
    put(catalogue, new)
    catalogue.withdraw([product.product_id for product in new[:1_150]])
    put(catalogue, [listing(70_000)])

    fresh = Catalogue(DIM)
    put(fresh, [listing(number) for number in [70_000, *gone, *range(LIVE)]] + new[1_150:])
    fresh.withdraw([f"listing {number}" for number in gone])
    listed = scorer.recommend(states, [NOW] * 4, 20)
    for ranking, wanted in zip(
        listed, way(fresh, popularity).recommend(states, [NOW] * 4, 20), strict=True
    ):
        assert [catalogue.ids[row] for row in ranking.rows] == [
            fresh.ids[row] for row in wanted.rows
        ]
        assert (
            np.allclose(ranking.scores, wanted.scores, atol=1e-6)
            and ranking.reasons == wanted.reasons
        )
    bought = catalogue.rows(
        np.array([stable_hash(f"listing {number}") for number in gone], np.uint64)
    )
    assert [catalogue.ids[row] for row in bought] == [f"listing {number}" for number in gone]


def test_what_was_withdrawn_lately_is_known_when_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogues, "KEPT_WITHDRAWN", 2)
    catalogue = Catalogue(DIM, lambda product: False)
    put(catalogue, [listing(number) for number in range(4)])
    catalogue.withdraw(["listing 0", "listing 1", "listing 2"])
    put(catalogue, [listing(0)])
    put(catalogue, [listing(9)])
    assert catalogue.ids == [f"listing {number}" for number in (0, 1, 2, 3, 9)], "two are spared"
    catalogue.withdraw(["listing 3"])
    put(catalogue, [listing(8)])
    assert (
        catalogue.ids == [f"listing {number}" for number in (0, 8, 2, 3, 9)]
        and catalogue.known == 5
    )
    assert catalogue.rows(np.array([stable_hash("listing 1")], np.uint64)).tolist() == [-1]
    assert catalogue.available.tolist() == [True, True, False, False, True]


def test_by_default_every_row_stays_with_its_product() -> None:
    catalogue = Catalogue(DIM)
    for number in range(0, 6_000, 1_000):
        some = [listing(number + i) for i in range(1_000)]
        put(catalogue, some)
        catalogue.withdraw([product.product_id for product in some])
    assert len(catalogue) == catalogue.known == 6_000


def test_a_number_goes_to_another_name_when_nothing_uses_it() -> None:
    codes = Codes()
    assert [codes.take(name) for name in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    codes.drop(0)
    codes.drop(1)
    assert codes.take("d") == 1 and codes.take("a") == 0 and codes.take("b") == 3
    assert list(codes) == ["a", "d", "c", "b"] and len(codes) == 4
