"""Replays a dataset through the worker's own fold and popularity, visit by visit.

A visit is a basket.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.events import Position, Profile
from pprm.data.dataset import Dataset
from pprm.state.fold import fold
from pprm.state.user_state import UserState


class Visit(NamedTuple):
    """A basket with its shopper's state just before and just after it."""

    number: int
    """In time order, over all shoppers."""
    user: int
    now: int
    """Unix seconds."""
    products: NDArray[np.int32]
    """What was bought: indices into the dataset's products, which are catalogue rows too."""
    before: UserState
    after: UserState


def replay(
    dataset: Dataset, catalogue: Catalogue, popularity: Popularity, until: int
) -> Iterator[Visit]:
    """Yield visits in time order until a Unix time.

    While one is out, `popularity` knows what was before its day, and `catalogue` (whose rows are
    the dataset's products) the promotions published by then. Events that are no purchases are
    folded between the visits.
    """
    is_basket = dataset.is_basket()
    for visit in _acts(dataset, catalogue, popularity, until):
        if is_basket[visit.number]:
            yield visit


def latest(dataset: Dataset, catalogue: Catalogue, popularity: Popularity) -> dict[str, UserState]:
    """Return every shopper's state after all that happened, by id.

    `popularity` then knows all of it before its last day.
    """
    acts = _acts(dataset, catalogue, popularity, int(dataset.time[-1]) + 1)
    return {dataset.users[act.user]: act.after for act in acts}


def _acts(
    dataset: Dataset, catalogue: Catalogue, popularity: Popularity, until: int
) -> Iterator[Visit]:
    """Visits, and between them what is none, as if each were a visit of its own."""
    states: dict[int, UserState] = {}
    first, promotions = dataset.visits(), _Publisher(dataset, catalogue)
    for number, (start, stop) in enumerate(
        zip(first[:-1].tolist(), first[1:].tolist(), strict=True)
    ):
        now, user = int(dataset.time[start]), int(dataset.user[start])
        if now >= until:
            return
        promotions.publish(now)
        before = states.get(user) or _known(dataset, user)
        popularity.advance(now)
        folded = fold(before, catalogue.with_promotions(dataset.interactions(start, stop)))
        states[user] = folded.state
        yield Visit(number, user, now, dataset.product[start:stop], before, folded.state)
        popularity.add(
            Purchase(one.event.product, one.event.time, one.is_first, one.times)
            for one in folded.counted
        )


def next_visits(dataset: Dataset) -> NDArray[np.int64]:
    """Number of the same shopper's next basket for each basket, -1 after the last."""
    users = dataset.user[dataset.visits()[:-1]]
    following = np.full(len(users), -1, np.int64)
    order = np.argsort(users, kind="stable")
    order = order[dataset.is_basket()[order]]
    same = users[order][1:] == users[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    return following


class _Publisher:
    """Puts promotions into the catalogue when their time has come."""

    def __init__(self, dataset: Dataset, catalogue: Catalogue) -> None:
        self.waiting, self.catalogue = dataset.promotions(0), catalogue
        self.next = next(self.waiting, None)

    def publish(self, now: int) -> None:
        while self.next and self.next.time <= now:
            self.catalogue.promotions.put(self.next.product, self.next.entries)
            self.next = next(self.waiting, None)


def _known(dataset: Dataset, user: int) -> UserState:
    """State of a shopper of whom only the profile is known."""
    profile = Profile(Position(3, 0, 0), 0, dataset.profile(dataset.users[user]))
    return fold(UserState(), [profile]).state
