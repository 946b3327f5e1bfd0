"""Progress of long work: bars on a terminal.

Elsewhere (a file, a log, a pipe) a line is written now and then.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

EVERY_SECONDS = 15.0
"""Between two lines where there is no terminal."""


class Bars(Protocol):
    """What shows progress: the part of rich's `Progress` that is used here."""

    def add_task(self, description: str, *, total: float | None = None) -> TaskID:
        """Begin some work; `total` is None while nobody knows how much it is."""

    def update(
        self, task_id: TaskID, *, completed: float | None = None, total: float | None = None,
        description: str | None = None,
    ) -> None:  # fmt: skip
        """Say how far it is."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """One more is done."""


def bars(console: Console, *columns: ProgressColumn) -> AbstractContextManager[Bars]:
    """Bars on a terminal, with `columns` before the times; lines elsewhere."""
    if not console.is_terminal:
        return _lines(console)
    text, bar = TextColumn("{task.description}"), BarColumn()
    return Progress(text, bar, *columns, TimeElapsedColumn(), TimeLeftColumn(), console=console)


@contextmanager
def _lines(console: Console) -> Iterator[Bars]:
    yield ProgressLines(
        lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)
    )


@dataclass(slots=True)
class _Task:
    description: str
    total: float | None
    began: float
    written_at: float
    completed: float = 0


@dataclass(slots=True)
class ProgressLines:
    """Progress in lines: now and then while work goes on, with the time left, and at its end."""

    say: Callable[[str], None]
    now: Callable[[], float] = monotonic
    _tasks: list[_Task] = field(default_factory=list)

    def add_task(self, description: str, *, total: float | None = None) -> TaskID:
        """See `Bars`."""
        self._tasks.append(_Task(description, total, self.now(), self.now()))
        return TaskID(len(self._tasks) - 1)

    def update(
        self, task_id: TaskID, *, completed: float | None = None, total: float | None = None,
        description: str | None = None,
    ) -> None:  # fmt: skip
        """See `Bars`."""
        task = self._tasks[task_id]
        was_done = bool(task.total) and task.completed >= (task.total or 0)
        task.description, task.total = description or task.description, total or task.total
        task.completed = task.completed if completed is None else completed
        is_done = bool(task.total) and task.completed >= (task.total or 0)
        if (is_done and not was_done) or (
            not is_done and self.now() - task.written_at >= EVERY_SECONDS
        ):
            task.written_at = self.now()
            self.say(
                f"{task.description}:"
                f" {how_far(task.completed, task.total, self.now() - task.began)}"
            )

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See `Bars`."""
        self.update(task_id, completed=self._tasks[task_id].completed + advance)


def how_far(done: float, total: float | None, seconds: float) -> str:
    """Describe how far some work is after so many seconds, and what is left at this pace."""
    if not total:
        return f"{done:,.0f} after {duration(seconds)}" if done else f"for {duration(seconds)}"
    if done >= total:
        return f"done, {duration(seconds)}"
    share = done / total  # of a few in a hundred nobody can tell how long the others take
    left = f", {duration(seconds * (1 - share) / share)} left" if share >= 0.02 else ""
    return f"{share:.0%} after {duration(seconds)}{left}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
