"""What the oracle says of lists that nobody asks for: a sound log is clean, each fault is named."""

import json
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest

from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import hash_of, stable_hash
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from tests.faults.oracle.judge import Log, Record, Rules, judge
from tests.unit.due_times import due, slot_of
from tests.unit.project.test_oracle import START, named

ANN, BOB = b"ann", b"bob"
RULES = Rules(period=360, session=60)
DUE = due(START + 60, None, slot_of(hash_of(ANN), RULES.period), RULES.period)
"""When a list of ann's that was made at the end of her visit is due again."""


class Story:
    """A log as it comes to be, of one partition."""

    def __init__(self) -> None:
        self.log = Log()
        self.states: dict[bytes, UserState] = {}
        self.sell("a", "b", "c")

    def sell(self, *names: str) -> None:
        for name in names:
            self._product(name, json.dumps({"product_id": name}).encode())

    def withdraw(self, name: str) -> int:
        return self._product(name, None)

    def _product(self, name: str, value: bytes | None) -> int:
        offset = len(self.log.products)
        self.log.products.append(Record("products", 0, offset, name.encode(), value))
        return offset

    def buy(self, key: bytes, at: int, *items: str) -> int:
        """A purchase and its answer; returns the record's offset."""
        offset = len(self.log.inputs)
        said = {
            "event_id": f"e{offset}", "user_id": key.decode(), "product_id": "a",
            "basket_id": f"b{offset}", "occurred_at": _time(at),
        }  # fmt: skip
        self.log.inputs.append(Record("purchases", 0, offset, key, json.dumps(said).encode()))
        self.log.committed["purchases", 0] = offset + 1
        bought = Interaction(
            Position(0, 0, offset), Kind.PURCHASE, stable_hash("a"), at,
            stable_hash(f"b{offset}"),
        )  # fmt: skip
        state = fold(self.states.get(key, UserState()), [bought]).state
        self._list(key, user_state.publish(state, map(stable_hash, items), at), items,
                   "event", "purchases", offset)  # fmt: skip
        return offset

    def make(self, key: bytes, at: int, kind: str, offset: int, *items: str) -> None:
        """A list that nobody asked for, by a record."""
        state = user_state.publish_unasked(copy(self.states[key]), map(stable_hash, items), at)
        topic = "products" if kind == "retraction" else "purchases"
        self._list(key, state, items, kind, topic, offset)

    def _list(
        self, key: bytes, state: UserState, items: Any, kind: str, topic: str, offset: int
    ) -> None:
        log, self.states[key] = self.log, user_state.decode(user_state.encode(state))
        log.changelog.append(
            Record("changelog", 0, len(log.changelog), key, user_state.encode(state))
        )
        said = {
            "recommendation_id": f"{key!r} {state.version} {items}", "user_id": key.decode(),
            "version": state.version, "items": [{"product_id": item} for item in items],
            "trigger": {"kind": kind, "topic": f"x-{topic}", "partition": 0, "offset": offset},
        }  # fmt: skip
        log.lists.append(
            Record("recommendations", 0, len(log.lists), key, json.dumps(said).encode())
        )


def _time(at: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat()


def sound() -> Story:
    """Refreshed when the visit was over and at the slot, retracted when a product went."""
    story = Story()
    story.buy(ANN, START, "a", "b")
    story.make(ANN, START + 60, "refresh", story.buy(BOB, START + 60, "a"), "b", "a")
    gone = story.withdraw("a")
    story.make(ANN, START + 60, "retraction", gone, "b", "c")
    story.make(BOB, START + 60, "retraction", gone, "c")
    moved = story.buy(BOB, DUE, "c")
    story.make(ANN, DUE, "refresh", moved, "c", "b")
    return story


def test_a_sound_log_is_clean() -> None:
    report = judge(sound().log, RULES)
    assert not named(report), report.examples


def test_without_rules_nothing_of_it_is_asked() -> None:
    story = Story()
    story.buy(ANN, START, "a")
    story.buy(BOB, START + 9999, "a")
    assert not named(judge(story.log)) and named(judge(story.log, RULES)) == {"overdue"}


def doctored(change: Callable[[Story], Any]) -> set[str]:
    story = sound()
    change(story)
    return named(judge(story.log, RULES))


def _last_list(story: Story, **trigger: Any) -> None:
    last = json.loads(story.log.lists[-1].value or b"")
    last["trigger"] |= trigger
    story.log.lists[-1] = story.log.lists[-1]._replace(value=json.dumps(last).encode())


def test_a_refresh_that_comes_too_soon_and_one_that_never_comes() -> None:
    again = doctored(lambda s: s.make(ANN, DUE + 1, "refresh", 2, "b", "c"))
    assert again == {"too_soon"}
    assert doctored(lambda s: s.make(ANN, DUE + 1, "retraction", 3, "b", "c")) == set()
    in_the_visit = Story()
    moved = in_the_visit.buy(ANN, START, "a")
    in_the_visit.make(ANN, START + 59, "refresh", moved, "b")
    assert named(judge(in_the_visit.log, RULES)) == {"too_soon"}
    assert doctored(lambda s: s.buy(BOB, DUE + 400, "c")) == {"overdue"}


@pytest.mark.parametrize(
    "trigger",
    [
        {"kind": "whim"},
        {"offset": 99},
        {"kind": "event"},
        {"kind": "request", "offset": 0},
        {"kind": "retraction", "topic": "x-products", "offset": 0},
        {"kind": "retraction"},
        {"topic": "x-products", "offset": 3},
    ],
)
def test_a_list_without_a_reason(trigger: dict[str, Any]) -> None:
    assert "no_reason" in doctored(lambda story: _last_list(story, **trigger))


def test_a_product_that_is_gone_and_stays() -> None:
    def kept(story: Story) -> None:
        story.withdraw("b")

    assert doctored(kept) == {"withdrawn"}

    def retracted_and_still_there(story: Story) -> None:
        story.make(ANN, DUE, "retraction", story.withdraw("b"), "b")

    assert doctored(retracted_and_still_there) == {"withdrawn", "no_reason"}


def test_an_answer_with_the_version_of_a_list_that_does_not_know_of_its_event() -> None:
    """A worker died behind a list, whose state nobody has; its version is the next answer's."""
    story = Story()
    story.buy(ANN, START, "a")
    answered = story.states[ANN]
    story.make(ANN, START + 60, "refresh", story.buy(BOB, START + 60, "a"), "b")
    story.log.changelog.pop()
    story.states[ANN] = answered
    bought = story.buy(ANN, START + 61, "c")
    assert named(judge(story.log, RULES)) == {"missing_output"}, "as the worker counts"
    last = json.loads(story.log.lists[-1].value or b"")
    last["version"] = answered.version + 1
    story.log.lists[-1] = story.log.lists[-1]._replace(value=json.dumps(last).encode())
    assert "shared_version" in named(judge(story.log, RULES)) and bought


def test_an_answer_that_comes_again_may_have_the_version_of_a_list_that_knows_of_it() -> None:
    story = Story()
    bought = story.buy(ANN, START, "a")
    story.make(ANN, START + 60, "refresh", story.buy(BOB, START + 60, "a"), "b")
    state = user_state.publish(story.states[ANN], [stable_hash("b")], START + 60)
    story._list(ANN, state, ["b"], "event", "purchases", bought)
    assert "shared_version" not in named(judge(story.log, RULES))
