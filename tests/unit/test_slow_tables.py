"""Hazards against a plain recount, factors against the library that learned them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pprm import factors, hazard, slow_tables
from pprm.catalogue import Catalogue
from pprm.hazard import BUCKETS, PRODUCT_PRIOR, TYPE_PRIOR
from tests.unit.small_shop import Encoder, dataset

DAY = 86_400
TYPE_OF = np.array([0, 0, 1, 1, 1], np.int32)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200), st.integers(0, 4)), max_size=60))
def test_hazards_equal_a_recount(purchases: list[tuple[int, int, int]]) -> None:
    purchases = sorted(purchases, key=lambda p: p[1])
    user, day, product = (np.array([p[i] for p in purchases], np.int64) for i in range(3))
    made = hazard.fit(user.astype(np.int32), product.astype(np.int32), day * DAY, TYPE_OF, 2)

    def recount(keys: np.ndarray, key: int) -> tuple[np.ndarray, np.ndarray]:
        exposed, returned = np.zeros(BUCKETS), np.zeros(BUCKETS)
        for one in range(3):
            visits = sorted({p[1] for p in purchases if p[0] == one})
            last = None
            for visit in visits:
                bought = any(u == one and d == visit and k == key for (u, d, _), k in zip(purchases, keys, strict=True))
                if last is not None:
                    bucket = int(np.searchsorted(hazard.EDGES, visit - last))
                    exposed[bucket] += 1
                    returned[bucket] += bought
                if bought:
                    last = visit
        return exposed, returned

    exposed, returned = (np.stack(x) for x in zip(*[recount(product, p) for p in range(5)], strict=True))
    everything = (returned.sum(0) + 0.5) / (exposed.sum(0) + 1)
    of_type = lambda x: np.stack([x[t == TYPE_OF].sum(0) for t in range(2)])  # noqa: E731
    by_type = (of_type(returned) + TYPE_PRIOR * everything) / (of_type(exposed) + TYPE_PRIOR)
    wanted = (returned + PRODUCT_PRIOR * by_type[TYPE_OF]) / (exposed + PRODUCT_PRIOR)
    assert np.allclose(made.product, np.log(wanted), atol=1e-5)
    exposed, returned = (np.stack(x) for x in zip(*[recount(TYPE_OF[product], t) for t in range(2)], strict=True))
    everything = (returned.sum(0) + 0.5) / (exposed.sum(0) + 1)
    assert np.allclose(made.type, np.log((returned + TYPE_PRIOR * everything) / (exposed + TYPE_PRIOR)), atol=1e-5)


@pytest.fixture(scope="module")
def shop() -> tuple[object, Catalogue]:
    data, catalogue = dataset(), Catalogue(Encoder.dimensions)
    products = [product.to_catalogue() for product in data.products]
    catalogue.put(products, Encoder().encode([product.text for product in products]))
    return data, catalogue


def test_a_shopper_folded_in_is_the_librarys_shopper() -> None:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    user, product = rng.integers(0, 40, 900).astype(np.int32), rng.integers(0, 30, 900).astype(np.int32)
    learned = factors.fit(user, product, np.zeros(900), 30)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors.FACTORS, regularization=factors.REGULARISATION, alpha=factors.CONFIDENCE, num_threads=1
        )
    model.item_factors = learned.product
    bought, counts = np.unique(product[user == 7], return_counts=True)
    row = csr_matrix((np.log1p(2.0 * counts), (np.zeros(len(bought), int), bought)), (1, 30), dtype=np.float32)
    wanted = model.recalculate_user(0, row)
    assert np.allclose(learned.fold_in(bought, counts.astype(float)), wanted, atol=1e-3)


def test_tables_know_nothing_of_what_comes_later(shop: tuple[object, Catalogue]) -> None:
    data, catalogue = shop
    until = int(data.time[700])  # type: ignore[attr-defined]
    whole = slow_tables.learn(data, catalogue, until)  # type: ignore[arg-type]
    cut = slow_tables.learn(dataset(visits=500), catalogue, until)
    assert int(dataset(visits=500).time[-1]) > until
    for name, array in whole.to_arrays().items():
        assert np.array_equal(array, cut.to_arrays()[name]), name


def test_tables_are_found_by_hash_and_survive_a_file(shop: tuple[object, Catalogue]) -> None:
    data, catalogue = shop
    made = slow_tables.learn(data, catalogue, 2**31)  # type: ignore[arg-type]
    back = slow_tables.SlowTables.from_arrays(made.to_arrays())
    other = Catalogue(Encoder.dimensions)  # the same products in another order, and one that is new
    products = [product.to_catalogue() for product in data.products][::-1]  # type: ignore[attr-defined]
    products += [products[0].__class__("new", "text", "a type that is new", "c", "m")]
    other.put(products, Encoder().encode([product.text for product in products]))
    rows, buckets = np.array([0, 5, len(products) - 1]), np.array([2, 3, 4])
    mirrored = len(data.products) - 1 - rows[:2]  # type: ignore[attr-defined]
    assert np.allclose(
        back.product_hazard(other, rows, buckets)[:2], made.product_hazard(catalogue, mirrored, buckets[:2]), atol=1e-2
    )
    assert back.product_hazard(other, rows, buckets)[2] == back.hazards[0, 4]
    assert back.type_hazard(other, other.type[rows], buckets)[2] == back.hazards[1, 4]
    bought, counts = np.array([0, 3]), np.ones(2)
    assert back.affinity(other, bought, counts, rows)[2] == 0


def test_a_shop_of_which_nothing_is_known_has_tables_all_the_same(shop: tuple[object, Catalogue]) -> None:
    _, catalogue = shop
    none = slow_tables.nothing()
    rows = np.arange(3)
    assert np.isfinite(none.product_hazard(catalogue, rows, rows)).all()
    assert not none.affinity(catalogue, rows, np.ones(3), rows).any()
