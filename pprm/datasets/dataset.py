"""What every dataset module gives: products, shoppers, and events in time order."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm import catalogue
from pprm.events import Interaction, Kind, Position
from pprm.ids import stable_hash
from pprm.texts import product_text, profile_text


class Product(NamedTuple):
    """A product as the shop would publish it; the fields of the `products` topic."""

    product_id: str
    title: str
    categories: list[str]
    brand: str
    attributes: dict[str, str]
    available: bool

    def to_catalogue(self) -> catalogue.Product:
        """As the model sees it: the same rule that the worker applies to the topic."""
        return catalogue.Product(
            self.product_id,
            product_text(self.title, "", self.categories, self.attributes),
            *catalogue.groups(self.categories, self.title),
            self.brand,
            self.available,
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """Purchases of a shop. The arrays, [events], are in time order, the events of a basket together."""

    name: str
    products: list[Product]
    users: list[str]
    baskets: list[str]
    profiles: dict[str, dict[str, str]]
    """What is known of a shopper, by id; unknown ones are missing."""
    user: NDArray[np.int32]
    """Index into `users`."""
    product: NDArray[np.int32]
    """Index into `products`."""
    basket: NDArray[np.int32]
    """Index into `baskets`."""
    time: NDArray[np.int64]
    """Unix seconds."""
    _hashes: dict[str, NDArray[np.uint64]] = field(default_factory=dict)

    def profile(self, user: str) -> str:
        """Text of a shopper's attributes, empty where nothing is known."""
        return profile_text(None, self.profiles.get(user, {}))

    def interactions(self, start: int, stop: int) -> Iterator[Interaction]:
        """Events of a range as what the fold takes, offsets being indices."""
        if not self._hashes:
            self._hashes["product"] = np.array([stable_hash(p.product_id) for p in self.products], np.uint64)
            self._hashes["basket"] = np.array([stable_hash(basket) for basket in self.baskets], np.uint64)
        products = self._hashes["product"][self.product[start:stop]].tolist()
        baskets = self._hashes["basket"][self.basket[start:stop]].tolist()
        times = self.time[start:stop].tolist()
        for offset, (product, basket, time) in enumerate(zip(products, baskets, times, strict=True), start):
            yield Interaction(Position(0, 0, offset), Kind.PURCHASE, product, time, basket)

    def visits(self) -> NDArray[np.int64]:
        """Index of the first event of each basket, and the number of events at the end: [baskets + 1]."""
        first = np.flatnonzero(np.r_[True, np.diff(self.basket) != 0])
        return np.append(first, len(self.basket)).astype(np.int64)
