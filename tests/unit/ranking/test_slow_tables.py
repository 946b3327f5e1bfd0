"""Hazards against a plain recount, factors against the library that learned them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pprm.catalogue.catalogue import Catalogue
from pprm.core.events import Interaction, Kind, Position
from pprm.ranking import factors, hazard, item_regression, slow_tables
from pprm.ranking.hazard import BUCKETS, PRODUCT_PRIOR, TYPE_PRIOR
from pprm.retrieval.features import Groups, groups
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from tests.unit.small_shop import Encoder, dataset

DAY = 86_400
NOW = 17_500 * DAY
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
                bought = any(
                    u == one and d == visit and k == key
                    for (u, d, _), k in zip(purchases, keys, strict=True)
                )
                if last is not None:
                    bucket = int(np.searchsorted(hazard.EDGES, visit - last))
                    exposed[bucket] += 1
                    returned[bucket] += bought
                if bought:
                    last = visit
        return exposed, returned

    exposed, returned = (
        np.stack(x) for x in zip(*[recount(product, p) for p in range(5)], strict=True)
    )
    everything = (returned.sum(0) + 0.5) / (exposed.sum(0) + 1)
    of_type = lambda x: np.stack([x[t == TYPE_OF].sum(0) for t in range(2)])  # noqa: E731
    by_type = (of_type(returned) + TYPE_PRIOR * everything) / (of_type(exposed) + TYPE_PRIOR)
    wanted = (returned + PRODUCT_PRIOR * by_type[TYPE_OF]) / (exposed + PRODUCT_PRIOR)
    assert np.allclose(made.product, np.log(wanted), atol=1e-5)
    exposed, returned = (
        np.stack(x) for x in zip(*[recount(TYPE_OF[product], t) for t in range(2)], strict=True)
    )
    everything = (returned.sum(0) + 0.5) / (exposed.sum(0) + 1)
    assert np.allclose(
        made.type, np.log((returned + TYPE_PRIOR * everything) / (exposed + TYPE_PRIOR)), atol=1e-5
    )


@pytest.fixture(scope="module")
def shop() -> tuple[object, Catalogue]:
    data, catalogue = dataset(), Catalogue(Encoder.dimensions)
    products = [product.to_catalogue() for product in data.products]
    catalogue.put(products, Encoder().encode([product.text for product in products]))
    return data, catalogue


def test_a_shopper_folded_in_likes_what_the_librarys_shopper_likes() -> None:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    user, product = (
        rng.integers(0, 40, 900).astype(np.int32),
        rng.integers(0, 30, 900).astype(np.int32),
    )
    learned = factors.fit(user, product, np.zeros(900), 30)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors.FACTORS,
            regularization=factors.REGULARISATION,
            alpha=factors.CONFIDENCE,
            num_threads=1,
        )
    model.item_factors = learned.product
    bought, counts = np.unique(product[user == 7], return_counts=True)
    row = csr_matrix(
        (np.log1p(2.0 * counts), (np.zeros(len(bought), int), bought)), (1, 30), dtype=np.float32
    )
    wanted = model.recalculate_user(0, row)
    mine = learned.fold_in(bought, counts.astype(float))
    assert np.corrcoef(learned.product @ mine, learned.product @ wanted)[0, 1] > 0.98
    gram = learned.product.T @ learned.product + factors.REGULARISATION * np.eye(factors.FACTORS)
    confidence = factors.CONFIDENCE * np.log1p(2.0 * counts)
    assert np.allclose(gram @ mine, learned.product[bought].T @ confidence, atol=1e-3)


def test_tables_know_nothing_of_what_comes_later(shop: tuple[object, Catalogue]) -> None:
    data, catalogue = shop
    until = int(data.time[700])  # type: ignore[attr-defined]
    whole = slow_tables.learn(data, catalogue, until)  # type: ignore[arg-type]
    cut = slow_tables.learn(dataset(visits=500), catalogue, until)
    assert int(dataset(visits=500).time[-1]) > until
    for name, array in whole.to_arrays().items():
        assert np.array_equal(array, cut.to_arrays()[name]), name


def bought_by(catalogue: Catalogue, *rows: int) -> Groups:
    """Cross features of somebody who bought these rows of a catalogue three days ago."""
    hashes = catalogue.hashes[list(rows)].tolist()
    events = [
        Interaction(Position(0, 0, i), Kind.PURCHASE, hashed, NOW - 3 * DAY)
        for i, hashed in enumerate(hashes)
    ]
    return groups(fold(UserState(), events).state, catalogue, NOW)


def test_tables_are_found_by_hash_and_survive_a_file(shop: tuple[object, Catalogue]) -> None:
    data, catalogue = shop
    made = slow_tables.learn(data, catalogue, 2**31)  # type: ignore[arg-type]
    back = slow_tables.SlowTables.from_arrays(made.to_arrays())
    other = Catalogue(Encoder.dimensions)  # the same products in another order, and one that is new
    products = [product.to_catalogue() for product in data.products][::-1]  # type: ignore[attr-defined]
    products += [products[0].__class__("new", "text", "a type that is new", "c", "m")]
    other.put(products, Encoder().encode([product.text for product in products]))
    rows = np.array([0, 5, len(products) - 1])
    mirrored = len(data.products) - 1 - rows[:2]  # type: ignore[attr-defined]
    mine, theirs = bought_by(other, *rows), bought_by(catalogue, *mirrored)
    there, here = back.over(other), made.over(catalogue)
    assert np.allclose(there.hazard(mine, rows)[:2], here.hazard(theirs, mirrored), atol=1e-2)
    bucket = int(hazard.bucket(np.array([3.0]))[0])
    assert there.hazard(mine, rows)[2].tolist() == back.hazards[:, bucket].tolist()
    assert there.affinity(mine, rows)[2] == 0 and there.neighbours(mine, rows)[2] == 0
    assert np.allclose(there.neighbours(bought_by(other, 0), rows)[:2],
                       here.neighbours(bought_by(catalogue, mirrored[0]), mirrored),
                       atol=1e-2)  # fmt: skip


def test_a_shop_of_which_nothing_is_known_has_tables_all_the_same(
    shop: tuple[object, Catalogue],
) -> None:
    _, catalogue = shop
    none, rows = slow_tables.nothing().over(catalogue), np.arange(3)
    mine = bought_by(catalogue, 0, 1)
    assert np.isfinite(none.hazard(mine, rows)).all()
    assert not none.affinity(mine, rows).any() and not none.neighbours(mine, rows).any()


def test_the_item_regression_is_the_papers_closed_form() -> None:
    rng = np.random.default_rng(1)
    products = item_regression.SOURCES + 30
    bought = rng.random((200, products)) < rng.random(products) * 0.3 + 0.02
    user, product = (array.astype(np.int32) for array in np.nonzero(bought))
    learned = item_regression.fit(user, product, products)
    x = bought.astype(float)
    inverse = np.linalg.inv(x.T @ x + item_regression.REGULARISATION * np.eye(products))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    for j in range(products):
        assert np.allclose(weights[learned.sources[j], j], learned.weights[j], atol=1e-4)
        left = np.delete(np.abs(weights[:, j]), learned.sources[j])
        assert left.max() <= np.abs(learned.weights[j]).min() + 1e-4  # the strongest are kept


def test_neighbours_speak_for_a_product_as_often_as_they_were_bought(
    shop: tuple[object, Catalogue],
) -> None:
    data, catalogue = shop
    made = slow_tables.learn(data, catalogue, 2**31)  # type: ignore[arg-type]
    sources, weights = (
        np.zeros((len(made.products), 100), np.int32),
        np.zeros((len(made.products), 100), np.float32),
    )
    sources[:, 0], weights[:, 0] = 7, 0.5
    tables, rows = (
        replace(made, sources=sources, weights=weights).over(catalogue),
        catalogue.rows(made.products[:3]),
    )
    seven = int(catalogue.rows(made.products[7:8])[0])
    assert tables.neighbours(bought_by(catalogue, seven), rows).tolist() == [0.5] * 3
    assert tables.neighbours(bought_by(catalogue, int(rows[0])), rows).tolist() == [0.0] * 3


def test_the_hazard_of_a_type_is_that_of_its_newest_purchase(
    shop: tuple[object, Catalogue],
) -> None:
    data, catalogue = shop
    tables = slow_tables.learn(data, catalogue, 2**31).over(catalogue)  # type: ignore[arg-type]
    type_ = int(catalogue.type[0])
    rows = np.flatnonzero(catalogue.type == type_)[:3]
    for ages in ((90, 3, 30), (3, 90, 30), (30, 90, 3)):
        hashes = catalogue.hashes[rows].tolist()
        order = np.argsort(ages)[::-1]
        events = [
            Interaction(Position(0, 0, n), Kind.PURCHASE, hashes[i], NOW - ages[i] * DAY)
            for n, i in enumerate(order)
        ]
        found = tables.hazard(groups(fold(UserState(), events).state, catalogue, NOW), rows)
        assert (found[:, 1] == tables.type_hazards[type_, hazard.bucket(np.array([3.0]))[0]]).all()
        of_products = tables.product_hazards[tables.at[rows], hazard.bucket(np.array(ages, float))]
        assert np.array_equal(found[:, 0], of_products)
