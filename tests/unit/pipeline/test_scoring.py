"""What the model is asked about the shoppers of a micro-batch."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from pprm.core.events import Interaction, Kind, Position
from pprm.state.fold import fold_into
from pprm.state.user_state import UserState
from tests.unit.pipeline.fakes import model_of
from worker.ops import metrics
from worker.pipeline.past import Past
from worker.pipeline.recommender import Ranked, Request
from worker.pipeline.scoring import Scoring
from worker.pipeline.work import Shopper


class Catalogue:
    def __init__(self, promotions: bool) -> None:
        self.promotions = promotions


class Encoder:
    """Knows every text."""

    is_loaded = True

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return []


class Recommender:
    """Answers with empty lists, and keeps what it was asked."""

    encoder = Encoder()

    def __init__(self, promotions: bool = False) -> None:
        self.catalogue = Catalogue(promotions)
        self.asked: list[Request] = []

    def with_promotions(self, events: Iterable[Any]) -> list[Any]:
        return [(event, "promoted") for event in events]

    def answer(self, counted: Any, requests: Sequence[Request]) -> list[Ranked]:
        self.asked.extend(requests)
        return [Ranked([], []) for _ in requests]

    def newly_not_finite(self) -> int:
        return 0


def scoring(recommender: Recommender, past: Past | None = None) -> Scoring:
    return Scoring(model_of(recommender), past or Past(), metrics.create())


@pytest.mark.parametrize("known", [True, False])
def test_purchases_get_the_promotions_that_their_products_have(known: bool) -> None:
    ann, bob = Shopper(0, b"ann", ["bread", "milk"]), Shopper(1, b"bob", ["tea"])  # type: ignore[list-item]
    asyncio.run(scoring(Recommender(promotions=known)).promote([ann, bob]))
    expected = (
        [("bread", "promoted"), ("milk", "promoted"), ("tea", "promoted")]
        if known
        else ["bread", "milk", "tea"]
    )
    assert [*ann.events, *bob.events] == expected


def shopper(active_at: int, time: int) -> Shopper:
    """One whose only event counts for nothing."""
    none_bought = Interaction(Position(0, 0, 1), Kind.NOTHING, 7, time)
    state = UserState(active_at=active_at)
    return Shopper(0, b"ann", [none_bought], folded=fold_into(state, [none_bought]))


@pytest.mark.parametrize("active_at", [0, 1_500_000_000, 1_700_000_000])
def test_a_list_is_as_of_the_newest_event_whether_it_counts_or_not(active_at: int) -> None:
    recommender = Recommender()
    asyncio.run(scoring(recommender).score([shopper(active_at, 1_600_000_000)]))
    assert [request.now for request in recommender.asked] == [max(active_at, 1_600_000_000)]


def test_events_of_the_past_are_not_answered() -> None:
    recommender, past = Recommender(), Past(datetime.fromtimestamp(1_600_000_000, UTC))
    shoppers = [shopper(0, 1_599_999_999), shopper(0, 1_600_000_000)]
    asyncio.run(scoring(recommender, past).score(shoppers))
    assert [one.ranked is not None for one in shoppers] == [False, True]
