"""What every dataset module gives: products, shoppers, and events in time order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue import catalogue
from pprm.catalogue.texts import product_text, profile_text
from pprm.core.events import SOURCE_OF, Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.data.reading_report import Report

if TYPE_CHECKING:
    from pprm.data.plan import Plan


class ShopProduct(NamedTuple):
    """A product as the shop would publish it; the fields of the `products` topic."""

    product_id: str
    title: str
    categories: list[str]
    brand: str
    attributes: dict[str, str]
    available: bool
    description: str = ""
    price: float | None = None
    """Not text: the model does not read it."""
    vector: NDArray[np.float32] | None = None
    """Made elsewhere (`vectors`); None: it is the text's."""

    def to_catalogue(self) -> catalogue.Product:
        """As the model sees it: the same rule that the worker applies to the topic."""
        return catalogue.Product(
            self.product_id,
            product_text(self.title, self.description, self.categories, self.attributes),
            *catalogue.groups(self.categories, self.title),
            self.brand,
            self.available,
            vector=self.vector,
        )


class PromotedProduct(NamedTuple):
    """What a product's record says of its promotions from a moment on."""

    time: int
    """Unix seconds: when the record is published."""
    product: int
    """Index into the dataset's products."""
    entries: NDArray[Any]
    """`promotions.ENTRY` each: those of this week and of the one before."""


def no_promotions(since: int) -> Iterator[PromotedProduct]:
    """A shop without promotions."""
    return iter(())


@dataclass(frozen=True, slots=True)
class Dataset:
    """What happened in a shop.

    The arrays, [events], are in time order, the purchases of a basket together.
    """

    name: str
    products: list[ShopProduct]
    users: list[str]
    baskets: list[str]
    profiles: dict[str, dict[str, str]]
    """What is known of a shopper, by id; unknown ones are missing."""
    user: NDArray[np.int32]
    """Index into `users`."""
    product: NDArray[np.int32]
    """Index into `products`."""
    basket: NDArray[np.int32]
    """Index into `baskets`; else -1, or for a return from basket b -2 - b."""
    time: NDArray[np.int64]
    """Unix seconds."""
    kind: NDArray[np.uint8] | None = None
    """`events.Kind` of each event; None: all are purchases."""
    store: NDArray[np.uint32] | None = None
    """`user_state.store_code` of each purchase; None: all unknown."""
    dwell: NDArray[np.float32] | None = None
    """Seconds, of looks."""
    sentiment: NDArray[np.float32] | None = None
    """-1..1, of reviews."""
    promotions: Callable[[int], Iterator[PromotedProduct]] = no_promotions
    """The promotions in the order of their publication, from a Unix time on."""
    stores: Mapping[int, str] = field(default_factory=dict)
    """Ids of the stores by `user_state.store_code`."""
    about: dict[str, str] = field(default_factory=dict)
    """Free text of a shopper, by id; unknown ones are missing."""
    report: Report = field(default_factory=Report)
    """What was read of the source, what of it is not in the arrays, and why."""
    plan: "Plan | None" = None
    """The periods that its published figures use; None: they are cut by numbers of baskets."""
    _hashes: dict[str, NDArray[np.uint64]] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, int]:
        """How many rows of the source are not in the arrays, by reason."""
        return self.report.left_out

    def profile(self, user: str) -> str:
        """Text of what is known of a shopper, empty where that is nothing."""
        return profile_text(self.about.get(user), self.profiles.get(user, {}))

    @property
    def vector_dimensions(self) -> int:
        """Of the products' own vectors, which all have as many; 0 where none has one."""
        return next(
            (len(product.vector) for product in self.products if product.vector is not None), 0
        )

    def interactions(self, start: int, stop: int) -> Iterator[Interaction]:
        """Events of a range as what the fold takes, offsets being indices."""
        if not self._hashes:
            self._hashes["product"] = np.array(
                [stable_hash(p.product_id) for p in self.products], np.uint64
            )
            self._hashes["basket"] = np.array(
                [stable_hash(basket) for basket in self.baskets], np.uint64
            )
        part = slice(start, stop)
        products = self._hashes["product"][self.product[part]].tolist()
        known = self._hashes["basket"]
        baskets = [
            known[at] if (at := self.basket_of(event)) >= 0 else 0 for event in range(start, stop)
        ]
        rest = (self._column(name, part) for name in ("kind", "sentiment", "store", "dwell"))
        columns = zip(products, self.time[part].tolist(), baskets, *rest, strict=True)
        for offset, (product, time, basket, kind, *more) in enumerate(columns, start):
            yield Interaction(
                Position(SOURCE_OF[kind], 0, offset), Kind(kind), product, time, int(basket), *more
            )

    def basket_of(self, event: int) -> int:
        """Index of the basket of a purchase or a return, -1 where there is none."""
        basket = int(self.basket[event])
        return basket if basket >= -1 else -2 - basket

    def _column(self, name: str, part: slice) -> list[Any]:
        values = getattr(self, name)
        return [0] * (part.stop - part.start) if values is None else values[part].tolist()

    def purchases(self) -> NDArray[np.bool_]:
        """Which events are purchases."""
        return np.full(len(self.user), True) if self.kind is None else self.kind == Kind.PURCHASE

    def visits(self) -> NDArray[np.int64]:
        """Return each visit's first event by index, and the number of events; [visits + 1].

        A visit is a basket, or a single other event.
        """
        first = np.flatnonzero(np.r_[True, (np.diff(self.basket) != 0) | (self.basket[1:] < 0)])
        return np.append(first, len(self.basket)).astype(np.int64)

    def is_basket(self) -> NDArray[np.bool_]:
        """Which of `visits()` are baskets."""
        return self.basket[self.visits()[:-1]] >= 0
