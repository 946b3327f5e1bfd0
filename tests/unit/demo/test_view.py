"""What is on the screen."""

import io
from dataclasses import replace
from time import perf_counter

import pytest
from rich.console import Console

from tests.unit.demo.test_report import after_a_replay
from worker.demo import view
from worker.demo.demo_progress import DemoProgress, Shown
from worker.demo.households import DemoVisit, browses
from worker.demo.lists import Change, Listed, RecordPlace

PRODUCTS = tuple(f"p{number}" for number in range(12))
PLAIN = next(name for name in map(str, range(100)) if not browses(name))
BROWSING = next(name for name in map(str, range(100)) if browses(name))


def listed(products: tuple[str, ...]) -> Listed:
    return Listed(
        "i", products, (("due", "popular"),) * len(products), RecordPlace("purchases", 0, 0)
    )


def drawn(progress: DemoProgress) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=False).print(view.screen(progress))
    return out.getvalue().splitlines()


def with_a_household(
    before: tuple[str, ...],
    after: tuple[str, ...],
    family: str = "purchases",
    household: str = PLAIN,
) -> DemoProgress:
    progress = after_a_replay()
    progress.names = {product: f"Title {product} that goes on and on" for product in PRODUCTS}
    visit = DemoVisit(1_511_000_000, household, family, ("p1", "p11"), "b")
    lists = listed(before), listed(after)
    progress.shown = Shown(household, visit, visit.time, *lists, perf_counter())
    return progress


def test_the_live_view_fits_a_small_terminal() -> None:
    lines = drawn(with_a_household(PRODUCTS[:10], PRODUCTS[2:]))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_hits_are_marked_and_changes_of_rank_shown() -> None:
    lines = drawn(with_a_household(PRODUCTS[:10], ("p1", "p0", "p11", "p3")))
    rows = [line.split("│")[1] for line in lines if line.startswith("│")][1:]
    assert ["✓" in row for row in rows] == [False, True, False, False]
    for row, change in zip(rows, ("▲1", "▼1", "new", "="), strict=True):
        assert change in row
        assert "due again" in row


def test_simulated_browsing_is_called_so() -> None:
    looking = drawn(with_a_household(PRODUCTS, PRODUCTS, "browses", BROWSING))
    assert any("looks at 2 (simulated)" in line for line in looking)
    buying = drawn(with_a_household(PRODUCTS, PRODUCTS, "purchases", BROWSING))
    assert any("not judged" in line for line in buying)


@pytest.mark.parametrize(
    ("cause", "why"), [("refresh", "the list was old"), ("retraction", "a product went")]
)
def test_why_a_list_changed_without_its_shopper(cause: str, why: str) -> None:
    progress = after_a_replay()
    before, after = listed(PRODUCTS[:10]), replace(listed(PRODUCTS[2:]), cause=cause)
    progress.show_change(Change(PLAIN, before, replace(before, cause=cause)))
    assert progress.shown is None, "it is the same list"
    progress.show_change(Change(PLAIN, before, after))
    lines = drawn(progress)
    assert any(f"shopper {PLAIN}" in line and why in line for line in lines)
    assert not any("✓" in line for line in lines) and max(map(len, lines)) <= 80


def test_steps_are_shown_until_the_replay_begins() -> None:
    progress = DemoProgress()
    with progress.step("topics"):
        assert drawn(progress) == ["  ...   topics"]
    assert drawn(progress) == ["  0.0s  topics"]


def test_plain_lines_tell_each_step_once_in_the_order_of_their_ends() -> None:
    out, progress = io.StringIO(), after_a_replay()
    progress.date = 0
    with view.shown(progress, Console(file=out, width=40), live=True) as update:
        with progress.step("worker"):
            with progress.step("data") as step:
                step.detail = "all of it"
            update()
        update()
        update()
    lines = out.getvalue().splitlines()
    assert lines[0] == "  0.0s  data: all of it"
    assert "hit rate 75%" in lines[1]
    assert lines[2:] == ["  0.0s  worker"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_to_type_meanwhile_is_told_once_and_while_it_runs(is_terminal: bool) -> None:
    out, progress = io.StringIO(), after_a_replay()
    date, progress.date = progress.date, 0
    console = Console(file=out, width=200, force_terminal=is_terminal)
    with view.shown(progress, console, live=True) as update:
        update()
        assert "While the demo runs" not in out.getvalue()
        progress.date = date
        update()
        update()
        assert (
            out.getvalue().count("While the demo runs") == 1
            and "pprm tail --broker 127.0.0.1" in out.getvalue()
        )


def test_a_step_that_takes_long_is_told_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "PLAIN_SECONDS", 0.0)
    out, progress = io.StringIO(), DemoProgress()
    with (
        view.shown(progress, Console(file=out, width=40), live=False) as update,
        progress.step("backfill folded") as step,
    ):
        step.detail = "7 of 100"
        update()
    assert "...   backfill folded: 7 of 100 (for 0 s)" in out.getvalue()
