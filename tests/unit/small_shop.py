"""A small synthetic dataset for tests of replay, training and evaluation."""

from datetime import UTC, datetime

import numpy as np

from pprm.data.dataset import Dataset, ShopProduct

DAY = 86_400
BEGIN = int(datetime(2017, 6, 1, tzinfo=UTC).timestamp())
PRODUCTS, USERS, VISITS = 60, 20, 1200


def dataset(seed: int = 0, visits: int = VISITS) -> Dataset:
    """Shoppers with tastes of their own, June to December 2017.

    Every tenth product is not available.
    """
    rng = np.random.default_rng(seed)
    products = [
        ShopProduct(
            f"p{i}", f"title {i % 9}", [f"c{i % 4}", f"t{i % 12}"], f"m{i % 3}", {}, i % 10 != 9
        )
        for i in range(PRODUCTS)
    ]
    times = np.sort(rng.choice(213 * DAY, VISITS, replace=False))[:visits] + BEGIN
    users = rng.integers(0, USERS, VISITS)[:visits]
    tastes = [rng.permutation(PRODUCTS)[:15] for _ in range(USERS)]
    baskets = [np.unique(rng.choice(tastes[user], rng.integers(1, 6))) for user in users]
    sizes = [len(basket) for basket in baskets]
    return Dataset(
        name="small",
        products=products,
        users=[f"u{i}" for i in range(USERS)],
        baskets=[f"b{i}" for i in range(visits)],
        profiles={"u1": {"age": "45-54"}},
        user=np.repeat(users, sizes).astype(np.int32),
        product=np.concatenate(baskets).astype(np.int32),
        basket=np.repeat(np.arange(visits), sizes).astype(np.int32),
        time=np.repeat(times, sizes).astype(np.int64),
    )


class Encoder:
    """Texts to fixed random vectors, without BERT."""

    dimensions = 16

    def encode(self, texts: object) -> np.ndarray:
        return np.stack(
            [
                np.random.default_rng(sum(map(ord, text)))
                .normal(size=self.dimensions)
                .astype(np.float32)
                for text in texts  # type: ignore[attr-defined]
            ]
        )
