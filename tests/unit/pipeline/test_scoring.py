"""What the model is asked about the shoppers of a micro-batch."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from pprm.core import events
from pprm.core.events import Interaction, Kind, Position
from pprm.state.fold import fold, fold_into
from pprm.state.user_state import UserState, publish
from tests.unit.pipeline.fakes import lists_of, model_of
from worker.ops import metrics
from worker.pipeline.codec import Trigger
from worker.pipeline.fresh_lists import FreshLists
from worker.pipeline.past import Past
from worker.pipeline.recommender import Ranked, Request
from worker.pipeline.scoring import Scoring
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Shopper, Unasked, Work
from worker.settings import Recommendations, Topics


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

    def __init__(self, promotions: bool = False, hashes: Iterable[int] = ()) -> None:
        self.catalogue = Catalogue(promotions)
        self.asked: list[Request] = []
        self.hashes = list(hashes)

    def with_promotions(self, events: Iterable[Any]) -> list[Any]:
        return [(event, "promoted") for event in events]

    def answer(self, counted: Any, requests: Sequence[Request]) -> list[Ranked]:
        self.asked.extend(requests)
        return [Ranked(self.hashes, []) for _ in requests]

    def newly_not_finite(self) -> int:
        return 0


def scoring(
    recommender: Recommender,
    past: Past | None = None,
    lists: FreshLists | None = None,
    publish: Literal["always", "changed"] = "always",
    are_known: bool = False,
) -> Scoring:
    made, model = lists or lists_of(), model_of(recommender)
    return Scoring(model, past or Past(), made, publish, metrics.create(), are_known=are_known)


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


NOW = 1_600_000_000


def listed(event: Any, at: int = NOW - 100, version: int = 3) -> Shopper:
    """Who has the list 1, 2, and an event comes."""
    state = publish(fold(UserState(), [bought(version)]).state, [1, 2], at)
    return Shopper(0, b"ann", [event], folded=fold_into(state, [event]))


def bought(offset: int) -> Interaction:
    return Interaction(Position(0, 0, offset), Kind.PURCHASE, 7, NOW + offset)


ASKED = events.Request(Position(4, 0, 9), NOW + 9)


@pytest.mark.parametrize(
    ("publish", "hashes", "event", "is_sent"),
    [
        ("changed", [1, 2], bought(4), False),
        ("changed", [2, 1], bought(4), True),
        ("changed", [1, 2], bought(3), True),
        ("changed", [1, 2], ASKED, True),
        ("always", [1, 2], bought(4), True),
    ],
    ids=["the same", "another order", "a repeat", "asked for", "always"],
)
def test_a_list_is_sent_where_it_is_another_one_or_may_be_missing(
    publish: Any, hashes: list[int], event: Any, is_sent: bool
) -> None:
    lists = lists_of()
    lists.own(0)
    lists.note([listed(bought(4))])
    ann = listed(event)
    asyncio.run(scoring(Recommender(hashes=hashes), lists=lists, publish=publish).score([ann]))
    assert ann.is_sent is is_sent and ann.state.published_list().tolist() == hashes
    assert ann.state.listed_at == max(event.time, NOW + 3), "what is not sent is as good as new"


@pytest.mark.parametrize("are_known", [False, True])
def test_what_the_state_knows_is_answered_again_only_where_its_list_may_be_missing(
    are_known: bool,
) -> None:
    """As when the broker gives back offsets of long ago."""
    only_repeats, one_new = listed(bought(3)), listed(bought(4))
    one_new.events = [bought(3), bought(4)]
    one_new.folded = fold_into(fold(UserState(), [bought(3)]).state, one_new.events)
    asyncio.run(scoring(Recommender(), are_known=are_known).score([only_repeats, one_new]))
    assert (only_repeats.ranked is None) is are_known and one_new.ranked is not None


@pytest.mark.parametrize("are_known", [False, True])
def test_after_a_take_over_the_first_list_is_sent_unless_its_state_came_with_it(
    are_known: bool,
) -> None:
    lists, ann = lists_of(are_known=are_known), listed(bought(4))
    lists.own(0)
    lists.add_states([b"ann"], [ann.state], 0)
    asked = scoring(Recommender(hashes=[1, 2]), lists=lists, publish="changed")
    asyncio.run(asked.score([ann]))
    assert ann.is_sent is not are_known
    again = listed(bought(5))
    asyncio.run(asked.score([again]))
    assert not again.is_sent


def test_a_list_that_none_asked_for_moves_the_version_and_is_as_of_its_time() -> None:
    ann, recommender = listed(bought(4)), Recommender(hashes=[2])
    ann.events, version = [], ann.state.version

    class Chosen(FreshLists):
        def choose(self, work: Work) -> None:
            for shopper in work.shoppers:
                shopper.unasked = Unasked(Trigger("refresh", "purchases", 0, 9, "e"), NOW + 500)

    lists = Chosen(Recommendations(), Topics(), StreamTime(), Past(), are_known=True)
    work = Work({0: {b"ann": ann}}, is_turn=True)
    asyncio.run(scoring(recommender, lists=lists).refresh(work))
    assert ann.state.version == version + 1 and ann.state.listed_at == NOW + 500
    assert [request.now for request in recommender.asked] == [NOW + 500]
    assert ann.trigger.kind == "refresh" and ann.ranked is not None
