"""A shop of any size grown from the bundled one.

Its products, what sells of them, and its households' histories.

A product beyond the data is a copy of a real one, as different from it as products of one type and
category are from each other. With n copies there are some sqrt(n) times as many types and n / 3
times as many makers: a larger shop is deeper and broader. Copies sell as the real product does,
times a log-normal factor of their own (sigma 1.5: most of a large shop hardly sells). A household
buys of each real product one copy that it keeps to in 7 of 10 purchases, else another, each as it
sells.
"""

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import HALF_LIVES, Popularity, Snapshot
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.data.dataset import Dataset
from pprm.state.fold import fold
from pprm.state.user_state import DAY, UserState

NOW = 1_512_000_000
NOISE = 0.05
"""Standard deviation of the noise in each of a text vector's dimensions.

Products have 0.24 there. In the first layer the noise is 0.12, which is what products of one type
and category differ by (0.13).
"""
SIGMA = 1.5
LOYAL = 0.7
CHUNK = 50_000
FIRSTS = slice(3, 6)


class Shop:
    """Of so many products, of which n are real."""

    def __init__(self, real: Catalogue, dataset: Dataset, size: int) -> None:
        self.dataset, self.real, n = dataset, len(real), len(real)
        self.catalogue = _grown(real, size)
        self._row = real.rows(_hashes(dataset))
        self._row[self._row >= size] = -1
        copies = np.arange(n)[:, None] + n * np.arange(-(-size // n))
        factors = np.random.default_rng(1).lognormal(-(SIGMA**2) / 2, SIGMA, copies.shape)
        self._factors = factors * (copies < size) if size > n else np.ones((n, 1))
        chances = np.cumsum(self._factors, 1)
        self._chances = chances / np.maximum(chances[:, -1:], 1e-9)

    def popularity(self) -> Popularity:
        """As of `NOW`, if all that the data's households bought was bought until then."""
        data, products = self.dataset, len(self.catalogue)
        age = (self._end() - data.time) / DAY
        counted = (age > 0) & (self._row[data.product] >= 0)
        both = data.user.astype(np.int64) * len(data.products) + data.product
        is_first = np.zeros(len(both), bool)
        is_first[np.unique(both, return_index=True)[1]] = True
        weights = np.exp2(-age[counted, None] / np.array(HALF_LIVES))
        weights[:, FIRSTS] *= is_first[counted, None]
        row = self._row[data.product[counted]]
        sums = np.stack([np.bincount(row, column, self.real) for column in weights.T], 1)
        rows = np.arange(products)
        counters = (
            sums[rows % self.real] * self._factors[rows % self.real, rows // self.real][:, None]
        )
        popularity = Popularity()
        popularity.put(
            0, Snapshot(NOW // int(DAY), self.catalogue.hashes.copy(), counters.astype(np.float32))
        )
        return popularity

    def states(self, weeks_ago: Sequence[int], most: int) -> list[UserState]:
        """Make states of so many households, drawn once.

        They hold what was bought until so many weeks before the data's end.

        All as of `NOW`: the times are moved by as many weeks.
        """
        rng, data = np.random.default_rng(2), self.dataset
        by_user = np.argsort(data.user, kind="stable")
        bounds = np.searchsorted(data.user[by_user], np.arange(len(data.users) + 1))
        chosen = rng.permutation(len(data.users))[:most].tolist()
        return [
            state
            for user in chosen
            for state in self._states(user, by_user[bounds[user] : bounds[user + 1]], weeks_ago)
        ]

    def _states(
        self, user: int, events: NDArray[np.int64], weeks_ago: Sequence[int]
    ) -> list[UserState]:
        data, rng = self.dataset, np.random.default_rng(user)
        events = events[self._row[data.product[events]] >= 0]
        hashes = self.catalogue.hashes[self._copies(self._row[data.product[events]], rng)].tolist()
        times, baskets = data.time[events], data.basket[events].tolist()
        text, states = data.profile(data.users[user]).encode(), []
        for weeks in weeks_ago:
            shift = NOW - self._end() + weeks * 7 * int(DAY)
            until = int(np.searchsorted(times, NOW - shift))
            bought = zip(
                hashes[:until], (times[:until] + shift).tolist(), baskets[:until], strict=True
            )
            state = fold(
                UserState(),
                (
                    Interaction(Position(0, 0, i), Kind.PURCHASE, *of, store=1)
                    for i, of in enumerate(bought)
                ),
            ).state
            states.append(replace(state, text=text))
        return states

    def _copies(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Which copies of real products a household buys, in the order of its purchases."""
        drawn = (self._chances[rows] < rng.random(len(rows))[:, None]).sum(1)
        first = np.unique(rows, return_index=True, return_inverse=True)
        usual = drawn[first[1]][first[2].reshape(-1)]
        copies: NDArray[np.int64] = rows + self.real * np.where(
            rng.random(len(rows)) < LOYAL, usual, drawn
        )
        return copies

    def _end(self) -> int:
        return int(self.dataset.time[-1] // DAY * DAY)


def _hashes(dataset: Dataset) -> NDArray[np.uint64]:
    """`stable_hash` of each product's id."""
    return np.array([stable_hash(product.product_id) for product in dataset.products], np.uint64)


def _grown(real: Catalogue, size: int) -> Catalogue:
    rng, made, n = np.random.default_rng(0), Catalogue(real.dimensions), len(real)
    names = [list(codes) for codes in (real.types, real.categories, real.makers)]
    for start in range(0, size, CHUNK):
        rows = np.arange(start, min(start + CHUNK, size))
        noise = rng.normal(scale=NOISE, size=(len(rows), real.dimensions)).astype(np.float32)
        vectors = real.vectors[rows % n] + noise * (rows >= n)[:, None]
        made.put([_copy(real, row % n, row // n, names) for row in rows.tolist()], vectors)
    return made


def _copy(real: Catalogue, row: int, copy: int, names: list[list[str]]) -> Product:
    type_, category, maker = (names[i][code] for i, code in enumerate(real.codes[row]))
    kind = int(copy**0.5)
    return Product(
        f"{real.ids[row]}-{copy}",
        "",
        f"{type_}-{kind}",
        f"{category}-{kind // 3}",
        f"{maker}-{copy // 3}",
    )
