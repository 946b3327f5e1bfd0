"""ProgressLines where there is no terminal: how far, and how long it still takes."""

import io

import pytest
from rich.console import Console

from pprm.core import progress
from pprm.core.progress import ProgressLines, duration, how_far


def test_a_long_command_into_a_file_says_how_far_it_is_and_what_is_left() -> None:
    found: list[str] = []
    clock = [0.0]
    lines = ProgressLines(found.append, lambda: clock[0])
    task = lines.add_task("learning", total=None)
    for step in range(1, 101):
        clock[0] += 2
        lines.update(task, completed=step, total=100, description=f"learning, loss {step}")
    assert found[0] == "learning, loss 8: 8% after 16 s, 3 min left"
    assert found[-1] == "learning, loss 100: done, 3 min"
    assert 10 < len(found) < 15
    lines.update(task, completed=100, total=100)
    assert found[-1] == "learning, loss 100: done, 3 min" and len(found) < 15, (
        "what is done is told once"
    )


def test_a_terminal_gets_bars_and_everything_else_lines() -> None:
    out = io.StringIO()
    with progress.bars(Console(file=out, force_terminal=False)) as shown:
        assert isinstance(shown, ProgressLines)
        shown.advance(shown.add_task("cuts", total=1))
    assert out.getvalue().startswith("cuts: done") and "\x1b" not in out.getvalue()
    with progress.bars(Console(file=io.StringIO(), force_terminal=True)) as shown:
        assert not isinstance(shown, ProgressLines)


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [
        (0, None, "for 30 s"), (7, None, "7 after 30 s"), (1, 1000, "0% after 30 s"),
        (250, 1000, "25% after 30 s, 90 s left"),
    ],
)  # fmt: skip
def test_nobody_knows_what_is_left_of_what_has_hardly_begun(
    done: float, total: float | None, said: str
) -> None:
    assert how_far(done, total, 30) == said


def test_durations_are_told_as_people_do() -> None:
    assert [duration(seconds) for seconds in (0.4, 99, 300, 7300)] == [
        "0 s",
        "99 s",
        "5 min",
        "2 h 2 min",
    ]
