"""What of a state depends on the order of events, and what does not (docs/data.md, "Order").

A backfill need not be in time order for what is asked here; for the rest it has to be.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pprm.core.events import SOURCE_OF, Interaction, Kind, Position
from pprm.state.fold import fold
from pprm.state.user_state import UserState

DAY = 86_400
START = 1_500_000_000
EXACT = ("count", "first", "last")
DECAYED = ("decay7", "decay28", "decay112")
LOOKS = ("session", "day", "week", "cart", "removed", "dwell")


@st.composite
def histories(draw: st.DrawFn) -> list[Interaction]:
    """What a shopper did, each basket of one product and one moment.

    A product of a basket counts once, whatever comes

    between, only where the basket is the current one.
    """
    kinds = (
        Kind.PURCHASE,
        Kind.VIEW,
        Kind.ADD_TO_CART,
        Kind.REMOVE_FROM_CART,
        Kind.REVIEW,
        Kind.HIDE,
    )
    return [
        Interaction(
            Position(0, 0, 0), draw(st.sampled_from(kinds)), draw(st.integers(1, 6)),
            START + draw(st.integers(0, 200)) * DAY + number, number + 1,
            sentiment=draw(st.floats(-1, 1)),
            dwell=draw(st.sampled_from([0.0, 30.0])), fingerprint=number + 1,
        )
        for number in range(draw(st.integers(0, 40)))
    ]  # fmt: skip


def folded(events: list[Interaction]) -> UserState:
    """The state after events in this order, offsets as they come."""
    offsets: dict[int, int] = defaultdict(int)
    placed = []
    for event in events:
        source = SOURCE_OF[event.kind]
        placed.append(replace(event, position=Position(source, 0, offsets[source])))
        offsets[source] += 1
    return fold(UserState(), placed).state


def columns(keys: Any, counters: Any, names: tuple[str, ...]) -> dict[int, list[float]]:
    return {
        key: [float(row[name]) for name in names]
        for key, row in zip(keys.tolist(), counters, strict=True)
    }


@given(histories(), st.randoms(use_true_random=False))
def test_what_does_not_depend_on_the_order(events: list[Interaction], rng: Any) -> None:
    other = list(events)
    rng.shuffle(other)
    one, two = folded(events), folded(other)
    for names, same in (
        (EXACT, np.array_equal),
        (DECAYED, lambda a, b: np.allclose(a, b, rtol=1e-4)),
    ):
        held = [columns(s.product_keys(), s.product_counters(), names) for s in (one, two)]
        assert held[0].keys() == held[1].keys() and all(
            same(held[0][key], held[1][key]) for key in held[0]
        )
    looked = [columns(*s.looked_at(), (*LOOKS, "last")) for s in (one, two)]
    assert looked[0].keys() == looked[1].keys()
    assert all(
        np.allclose(looked[0][key], looked[1][key], rtol=1e-4, atol=1e-30) for key in looked[0]
    )
    totals = ("purchases", "baskets", "first_purchase", "last_purchase", "active_at", "reviewed_at")
    assert all(getattr(one, name) == getattr(two, name) for name in totals)
    sums = ("basket_decay28", "basket_decay112", "sentiment", "reviews")
    assert np.allclose(
        *([getattr(s, name) for name in sums] for s in (one, two)), rtol=1e-9, atol=1e-9
    )
    assert {*one.hidden_products().tolist()} == {*two.hidden_products().tolist()}
    assert one.version == two.version
    acts = [sorted(map(tuple, s.interactions().tolist())) for s in (one, two)]
    assert acts[0] == acts[1], "the same acts, in the order in which they came"


def test_what_does_depend_on_the_order() -> None:
    """Numbers of baskets and what is counted by them, the order of acts, the last ones kept."""
    events = [
        Interaction(
            Position(0, 0, 0), Kind.PURCHASE, number % 3 + 1, START + number * DAY, number + 1
        )
        for number in range(140)
    ]
    one, two = folded(events), folded(events[70:] + events[:70])
    assert one.product_counters()["basket_decay"][0] != two.product_counters()["basket_decay"][0]
    assert one.recent_baskets()["time"].tolist() != two.recent_baskets()["time"].tolist()
    assert one.interactions()["time"].min() > two.interactions()["time"].min(), (
        "the last that came, not the newest"
    )
    same = [Interaction(Position(0, 0, 0), Kind.PURCHASE, 1, START, basket) for basket in (7, 8, 7)]
    assert (folded(same).purchases, folded([same[0], same[2], same[1]]).purchases) == (3, 2), (
        "a basket come apart"
    )
