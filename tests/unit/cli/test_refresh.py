"""How `pprm refresh` asks: as of when, for whom, and never many more than are answered."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pprm.core.events import Interaction, Kind, Position, Profile
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from worker.cli import refresh
from worker.cli.refresh import LEAST_WAITING, Pace, moment
from worker.kafka.topics import TopicsError
from worker.settings import load

AT = 1_500_000_000


class Group:
    """A group that commits so many records at each look."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.done = list(steps), 0

    async def committed(self, tp: TopicPartition) -> int | None:
        self.done += self.steps.pop(0)
        return self.done or None


def sent(count: int) -> list[Any]:
    return [
        SimpleNamespace(topic="requests", partition=0, offset=offset) for offset in range(count)
    ]


def test_so_many_may_wait_as_were_answered_and_more_where_none_was_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0)
    pace = Pace(Group(0, 500, 10, 490))  # type: ignore[arg-type]
    pace.note(sent(1000))
    seen = []
    for _ in range(4):
        asyncio.run(pace.look())
        seen.append((pace.waiting, pace.most))
    assert seen == [
        (1000, LEAST_WAITING), (500, 500), (490, LEAST_WAITING), (0, 980),
    ]  # fmt: skip


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0)
    monkeypatch.setattr(refresh, "STALLED_SECONDS", 0)
    pace = Pace(Group(0))  # type: ignore[arg-type]
    pace.note(sent(1))
    with pytest.raises(TopicsError, match="is a worker running"):
        asyncio.run(pace.look())


def test_who_was_forgotten_or_is_damaged_is_not_asked_for() -> None:
    bought = Interaction(Position(0, 0, 0), Kind.PURCHASE, 7, AT)
    known = fold(UserState(), [bought]).state
    forgotten = fold(known, [Profile(Position(3, 0, 0), AT, None)]).state
    values = [user_state.encode(known), user_state.encode(forgotten), b"damaged", None]
    assert [refresh._knows_something(value) for value in values] == [True, False, False, False]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-01T00:00:00", "time zone"),
        ("2999-01-01T00:00:00Z", "lies ahead"),
        ("2016-12-31T00:00:00Z", "score_from"),
        ("yesterday", "Invalid isoformat"),
    ],
)
def test_a_time_that_cannot_be_is_refused(text: str, why: str) -> None:
    settings = load({"recommendations": {"score_from": "2017-01-01T00:00:00Z"}})
    with pytest.raises(ValueError, match=why):
        moment(settings, text)
    assert moment(settings, "2017-01-01T00:00:00Z").year == 2017
