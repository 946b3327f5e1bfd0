"""Who takes part and what happens when: baskets, looks, reviews, in time order.

The functions are pure and deterministic.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pprm.core.ids import stable_hash

HOUR = 3600
DAY = 24 * HOUR
BROWSING_SHARE = 10
"""One household of so many browses."""
LOOKS = 3
"""Products looked at in a simulated session; the first also goes into the cart."""


class DemoVisit(NamedTuple):
    """What one shopper does at one time.

    It is a basket or a return (`purchases`), a look (`browses`), or a review.
    """

    time: int
    """Unix seconds."""
    household: str
    family: str
    products: tuple[str, ...]
    basket: str
    """Its id; a return has its purchase's where that is known, anything else one of its own."""
    store: str = ""
    """Id of a basket's store."""
    action: str = ""
    """The action of a look, as in the topic, or `return`.

    A simulated session has none: its first product goes into the cart.
    """
    dwell: float = 0.0
    """Seconds, of a look."""
    sentiment: float = 0.0
    """Of a review, -1 to 1."""

    @property
    def is_basket(self) -> bool:
        """Whether something was bought: what a list is judged by."""
        return self.family == "purchases" and not self.action


def choose(households: Iterable[str], count: int | None) -> list[str]:
    """Return so many households (None: all).

    They are always the same ones, whatever they buy.
    """
    return sorted(households, key=lambda household: (stable_hash(household), household))[:count]


def browses(household: str) -> bool:
    """Whether looks are simulated for this household.

    Its baskets are then left out of the online figures.
    """
    return stable_hash(f"browses:{household}") % BROWSING_SHARE == 0


def sessions(history: Mapping[str, Sequence[DemoVisit]], begin: int) -> Iterator[DemoVisit]:
    """Simulate one look about a day after each basket from `begin` on.

    Only households that browse look. The products come from the household's baskets until then,
    evenly by a hash. Neither products nor time depend on what the household does later.

    Args:         history: each household's baskets in time order.         begin: Unix seconds.
    """
    for household, baskets in history.items():
        if not browses(household):
            continue
        seen: set[str] = set()
        for basket in baskets:
            seen.update(basket.products)
            if basket.time >= begin:
                yield _session(basket, seen)


def _session(basket: DemoVisit, seen: Iterable[str]) -> DemoVisit:
    name = f"look-{basket.basket}"
    after = 20 * HOUR + stable_hash(name) % (8 * HOUR)
    products = sorted(seen, key=lambda product: stable_hash(f"{name}:{product}"))[:LOOKS]
    return DemoVisit(basket.time + after, basket.household, "browses", tuple(products), name)


def replay_order(
    history: Mapping[str, Sequence[DemoVisit]], begin: int, end: int, simulates: bool = True
) -> list[DemoVisit]:
    """Return all visits from `begin` until before `end` in time order, with simulated ones."""
    simulated = sessions(history, begin) if simulates else ()
    visits = chain(chain.from_iterable(history.values()), simulated)
    return sorted(visit for visit in visits if begin <= visit.time < end)


def cut(visits: Iterable[DemoVisit], events: int | None) -> list[DemoVisit]:
    """Return the visits of the first so many events (None: all).

    The last basket may be cut short.
    """
    kept: list[DemoVisit] = []
    left = events
    for visit in visits:
        if left is not None:
            if left <= 0:
                break
            visit = visit._replace(products=visit.products[:left])
            left -= len(visit.products)
        kept.append(visit)
    return kept
