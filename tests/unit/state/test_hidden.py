"""`hide` and `dislike`: never again in the shopper's lists.

What is disliked speaks no longer for what is like it.
"""

import numpy as np

from pprm.core.events import Interaction, Kind, Position, Profile
from pprm.state.fold import fold
from pprm.state.user_state import MAX_HIDDEN, UserState, decode, encode

START = 1_500_000_000


def acts(*kinds: tuple[Kind, int]) -> list[Interaction]:
    return [
        Interaction(Position(0 if kind is Kind.PURCHASE else 1, 0, i), kind, product, START + i)
        for i, (kind, product) in enumerate(kinds)
    ]


def test_hidden_products_stay_hidden_whatever_is_bought_or_looked_at_later() -> None:
    said = acts(
        (Kind.HIDE, 7), (Kind.DISLIKE, 8), (Kind.VIEW, 7), (Kind.PURCHASE, 8), (Kind.HIDE, 7)
    )
    state = decode(encode(fold(UserState(), said).state))
    assert state.hidden_products().tolist() == [7, 8] and state.active_at == START + 4


def test_the_one_hidden_first_goes_when_there_are_too_many() -> None:
    said = acts(*((Kind.HIDE, i + 1) for i in range(MAX_HIDDEN + 3)))
    state = decode(encode(fold(UserState(), said).state))
    assert state.hidden_products().tolist() == list(range(4, MAX_HIDDEN + 4))


def test_looks_at_what_is_disliked_are_taken_back_and_purchases_are_not() -> None:
    """Else its type, its maker and what is like it would be recommended for it."""
    seen = [
        (Kind.VIEW, 7),
        (Kind.ADD_TO_CART, 7),
        (Kind.VIEW, 7),
        (Kind.VIEW, 8),
        (Kind.VIEW, 8),
        (Kind.PURCHASE, 7),
    ]
    before = fold(UserState(), acts(*seen)).state
    for kind, kept in ((Kind.HIDE, [7, 8]), (Kind.DISLIKE, [8])):
        word = Interaction(Position(1, 0, 50), kind, 7, START + 50)
        after = decode(encode(fold(before, [word]).state))
        keys, looks = after.looked_at()
        assert keys.tolist() == kept and len(after.interactions()) == (
            6 if kind is Kind.HIDE else 3
        )
        assert looks["last"][-1] == START + 4 and np.isclose(looks["week"][-1], 2, atol=1e-3)
        assert after.product_keys().tolist() == [7]


def test_forgetting_takes_what_was_hidden_too() -> None:
    hidden = fold(UserState(), acts((Kind.HIDE, 7))).state
    state = fold(hidden, [Profile(Position(3, 0, 0), START, None)]).state
    assert not state.hidden
