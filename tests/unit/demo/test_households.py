"""Who takes part, and what happens when."""

from itertools import pairwise

import pytest

from worker.demo.households import DAY, DemoVisit, browses, choose, cut, replay_order, sessions

BROWSING = next(name for name in map(str, range(1000)) if browses(name))
OTHER = next(name for name in map(str, range(1000)) if not browses(name))


def basket(
    day: float, household: str = BROWSING, products: tuple[str, ...] = ("a", "b")
) -> DemoVisit:
    return DemoVisit(int(day * DAY), household, "purchases", products, f"{household}@{day}")


def test_the_same_households_whatever_the_order_they_come_in() -> None:
    names = [str(number) for number in range(100)]
    assert choose(names, 10) == choose(reversed(names), 10)
    assert choose(names, 10) == choose(names, 50)[:10]
    assert choose(names, 10) != names[:10]
    assert sorted(choose(names, None)) == sorted(names)


def test_about_one_household_in_ten_browses() -> None:
    assert 70 < sum(browses(str(number)) for number in range(1000)) < 130


def test_a_session_comes_about_a_day_after_each_basket_from_what_was_bought_until_then() -> None:
    history = {
        BROWSING: [
            basket(1, products=("a",)),
            basket(20, products=("b", "c")),
            basket(40, products=("d",)),
        ],
        OTHER: [basket(20, OTHER)],
    }
    found = list(sessions(history, begin=10 * DAY))
    assert [session.household for session in found] == [BROWSING, BROWSING]
    assert set(found[0].products) == {"a", "b", "c"}
    assert {session.family for session in found} == {"browses"}
    for session, day in zip(found, (20, 40), strict=True):
        assert 20 / 24 <= session.time / DAY - day < 28 / 24


def test_browsing_knows_nothing_of_what_comes_later() -> None:
    past = [basket(day, products=(f"p{day}", f"q{day}")) for day in range(10)]
    future = [basket(day, products=("later",)) for day in range(10, 20)]
    assert (
        list(sessions({BROWSING: past}, 0))
        == list(sessions({BROWSING: past + future}, 0))[: len(past)]
    )


def test_the_replay_is_in_time_order_and_within_its_bounds() -> None:
    history = {
        BROWSING: [basket(day) for day in range(1, 30)],
        OTHER: [basket(day + 0.5, OTHER) for day in range(30)],
    }
    visits = replay_order(history, 10 * DAY, 20 * DAY)
    assert all(one.time <= other.time for one, other in pairwise(visits))
    assert {visit.family for visit in visits} == {"purchases", "browses"}
    assert (min(v.time for v in visits), max(v.time for v in visits)) == (10 * DAY, visits[-1].time)
    assert visits[-1].time < 20 * DAY


@pytest.mark.parametrize(
    ("events", "sizes"), [(None, [2, 2, 2]), (3, [2, 1]), (4, [2, 2]), (99, [2, 2, 2])]
)
def test_the_replay_is_cut_after_so_many_events(events: int | None, sizes: list[int]) -> None:
    assert [
        len(visit.products) for visit in cut([basket(day) for day in range(3)], events)
    ] == sizes
