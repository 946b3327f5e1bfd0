"""Who waits for which list, and how long each took."""

import asyncio
from typing import Any

import pytest

from worker.demo import lists
from worker.demo.lists import Lists, NoListError, RecordPlace


def message(
    identity: str,
    topic: str = "purchases",
    partition: int = 0,
    offset: int = 0,
    kind: str = "event",
) -> dict[str, Any]:
    return {
        "recommendation_id": identity,
        "user_id": "7",
        "trigger": {
            "kind": kind,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "event_id": "e",
        },
        "model": {"name": "PPRM-S", "version": "1", "sha256": "0"},
        "items": [{"product_id": "a", "rank": 1, "score": 0.5, "reasons": ["due"]}],
    }


@pytest.mark.parametrize(
    ("trigger", "answers"),
    [
        (RecordPlace("purchases", 1, 5), True),
        (RecordPlace("purchases", 1, 6), True),
        (RecordPlace("purchases", 1, 4), False),
        (RecordPlace("purchases", 2, 5), False),
        (RecordPlace("browses", 1, 5), False),
    ],
)
def test_a_list_answers_an_event_that_its_trigger_follows(
    trigger: RecordPlace, answers: bool
) -> None:
    async def waits() -> bool:
        received = Lists()
        waiting = asyncio.create_task(received.answer("7", RecordPlace("purchases", 1, 5)))
        await asyncio.sleep(0)
        received.receive(message("x", *trigger), 0.0)
        await asyncio.sleep(0.01)
        waiting.cancel()
        return waiting.done() and not waiting.cancelled()

    assert asyncio.run(waits()) is answers


def test_a_list_that_came_before_its_acknowledgement_is_not_waited_for() -> None:
    received = Lists()
    received.receive(message("x", offset=5), 0.0)
    assert asyncio.run(received.answer("7", RecordPlace("purchases", 0, 5))).products == ("a",)


def test_a_repeat_counts_once() -> None:
    received = Lists()
    for identity in ("x", "x", "y"):
        received.receive(message(identity), 0.0)
    assert received.received == 2


def test_latency_runs_from_the_send_and_leaves_out_lists_before_the_first() -> None:
    received = Lists()
    received.receive(message("profile", "users"), 1.0)
    received.sent("7", 2.0)
    received.receive(message("part", offset=1), 2.5)
    received.receive(message("whole", offset=2), 3.0)
    assert received.latencies == [0.5, 1.0]


def test_a_list_that_answers_somebody_elses_event_has_no_latency() -> None:
    async def answered() -> list[float]:
        received = Lists()
        received.sent("7", 1.0)
        received.receive(message("mine", offset=1), 1.5)
        await received.answer("7", RecordPlace("purchases", 0, 1))
        received.receive(message("by kcat", offset=2), 99.0)
        return received.latencies

    assert asyncio.run(answered()) == [0.5]


def test_waiting_ends_when_no_list_comes_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PATIENCE", 0.05)
    with pytest.raises(NoListError, match="household 7"):
        asyncio.run(Lists().answer("7"))


def test_waiting_goes_on_while_others_get_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PATIENCE", 0.05)

    async def slow() -> int:
        received = Lists()
        waiting = asyncio.create_task(received.answer("7"))
        for number in range(8):
            await asyncio.sleep(0.02)
            received.receive(message(str(number)) | {"user_id": "other"}, 0.0)
        received.receive(message("mine"), 0.0)
        await waiting
        return received.received

    assert asyncio.run(slow()) == 9


def test_a_list_that_is_made_again_unasked_answers_nobody_and_has_no_latency() -> None:
    received = Lists()
    assert received.receive(message("x"), 0.0) is None
    received.sent("7", 1.0)
    change = received.receive(message("y", offset=9, kind="refresh"), 5.0)
    assert change and (change.before.identity, change.after.identity) == ("x", "y")
    assert not change.after.answers(RecordPlace("purchases", 0, 5))
    assert (received.received, received.unasked, received.latencies) == (2, 1, [])
    assert received.newest["7"].cause == "refresh"
