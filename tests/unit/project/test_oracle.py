"""The oracle itself: given a doctored log it names each class of fault, and nothing else."""

import json
import random
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pprm.core.events import SOURCES, Event, Interaction, Kind, Position, Request
from pprm.core.ids import fingerprint, stable_hash
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import UserState
from pprm.state.watermarks import RECORD
from tests.faults.oracle.judge import Log, Record, Report, judge
from tests.faults.workload import messages
from tests.unit.state.wide_counters import with_counters

ITEMS = ["p1", "p2", "p3"]
KEY = b"u0"
START = 1_500_000_000


def logged(events: int = 40, users: int = 1, seed: int = 1) -> Log:
    """The log of a worker that does everything right, a micro-batch an event."""
    rng, log = random.Random(seed), Log()
    states: dict[bytes, UserState] = {}
    for family, key, value in messages(rng, users, 5, 0, events):
        offset = sum(record.family == family for record in log.inputs)
        log.inputs.append(Record(family, 0, offset, key, value))
        states[key] = answered(
            log, states.get(key, UserState()), family, offset, key, json.loads(value)
        )
        log.committed[family, 0] = offset + 1
    return log


def _event(family: str, position: Position, value: dict[str, str]) -> Event:
    time = int(datetime.fromisoformat(value["occurred_at"]).timestamp())
    if family == "requests":
        return Request(position, time)
    is_return = value.get("kind") == "return" or "quantity" in value
    kind = Kind.VIEW if family == "browses" else Kind.RETURN if is_return else Kind.PURCHASE
    basket = stable_hash(value["basket_id"]) if "basket_id" in value else 0
    product = stable_hash(value["product_id"])
    known_by = fingerprint(kind, value["event_id"], product)
    return Interaction(position, kind, product, time, basket, fingerprint=known_by)


def answered(
    log: Log, state: UserState, family: str, offset: int, key: bytes, value: dict[str, str]
) -> UserState:
    """Fold an event as the worker does, and write the state and its list."""
    number = int(value.get("event_id", value.get("request_id", ""))[1:])
    event = _event(family, Position(SOURCES.index(family), 0, offset), value)
    state = fold(state, [event]).state
    items = ITEMS[number % 3 :] + ITEMS[: number % 3]
    state = user_state.publish(state, map(stable_hash, items), event.time)
    log.changelog.append(Record("changelog", 0, len(log.changelog), key, user_state.encode(state)))
    log.lists.append(
        Record("recommendations", 0, len(log.lists), key, listed(state, items, family, offset, key))
    )
    return state


def listed(state: UserState, items: list[str], family: str, offset: int, key: bytes = KEY) -> bytes:
    fields = {
        "recommendation_id": f"{key!r} {state.version} {items}",
        "user_id": key.decode(),
        "version": state.version,
        "trigger": {"topic": f"shop-1-{family}", "partition": 0, "offset": offset},
        "items": [{"product_id": item} for item in items],
    }
    return json.dumps(fields).encode()


def named(report: Report) -> set[str]:
    return {name for name, count in report.counts.items() if count}


@given(st.integers(0, 200), st.integers(1, 4), st.integers(0, 99))
def test_a_sound_log_is_clean(events: int, users: int, seed: int) -> None:
    """Also with more events than a state's sequence holds."""
    report = judge(logged(events, users, seed))
    assert report.clean(exactly_once=True) and not named(report), report.examples


def refold(log: Log, events: list[Record]) -> bytes:
    """The state after these events."""
    made, state = Log(), UserState()
    for record in events:
        state = answered(
            made, state, record.family, record.offset, KEY, json.loads(record.value or b"")
        )
    return user_state.encode(
        user_state.publish(
            state, user_state.decode(log.changelog[-1].value).published_list(), state.active_at
        )
    )


def with_last_state(log: Log, value: bytes) -> Log:
    log.changelog[-1] = log.changelog[-1]._replace(value=value)
    return log


def without(family: str, at: int) -> Log:
    """The last state passed over one event of a family."""
    log = logged()
    mine = [record for record in log.inputs if record.family == family]
    return with_last_state(
        log, refold(log, [record for record in log.inputs if record is not mine[at]])
    )


def test_an_event_that_the_watermark_passed_over_is_lost() -> None:
    for family in ("purchases", "browses"):
        assert {"lost", "skip"} <= named(judge(without(family, 3)))


def test_an_event_passed_over_but_not_committed_is_a_skip() -> None:
    log = without("browses", 3)
    log.committed["browses", 0] = 2
    assert named(judge(log)) >= {"skip"} and "lost" not in named(judge(log))


def test_a_skip_in_a_full_sequence_shows_in_the_counts_and_in_the_hole() -> None:
    log = logged(300)
    purchases = [record for record in log.inputs if record.family == "purchases"]
    old, new = purchases[3], purchases[-3]
    for missing in (old, new):
        doctored = with_last_state(
            logged(300), refold(log, [r for r in log.inputs if r is not missing])
        )
        assert "skip" in named(judge(doctored))


def test_committed_and_never_processed_is_lost_and_not_committed_is_unseen() -> None:
    log = logged()
    last = len(log.inputs) - 1
    family = log.inputs[last].family
    log.changelog.pop()
    log.lists.pop()
    assert named(judge(log)) == {"lost"}
    log.committed[family, 0] -= 1
    assert named(judge(log)) == {"unseen"}


def test_an_event_in_a_state_twice() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    counters = state.product_counters()
    counters["count"][0] += 1
    doctored = with_last_state(log, user_state.encode(with_counters(state, counters)))
    assert named(judge(doctored)) == {"duplicate_state"}
    sequence = state.sequence + state.sequence[-user_state.INTERACTION.size :]
    doctored = with_last_state(log, user_state.encode(replace(state, sequence=sequence)))
    assert named(judge(doctored)) == {"duplicate_state"}


def test_decayed_counts_that_are_wrong() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    counters = state.product_counters()
    counters["decay28"] *= 1.01
    doctored = with_last_state(log, user_state.encode(with_counters(state, counters)))
    assert named(judge(doctored)) == {"wrong"}


def test_a_state_that_goes_back() -> None:
    log = logged()
    log.changelog.insert(20, log.changelog[10])
    report = judge(log)
    assert report.counts["regress"] == 1 and not report.counts["stale_at_end"] and report.clean()
    assert not report.clean(exactly_once=True)
    log = logged()
    log.changelog.append(log.changelog[10])
    assert {"regress", "stale_at_end"} <= named(judge(log))


def test_a_list_that_is_repeated_or_goes_back_is_tolerated_at_least_once() -> None:
    log = logged()
    log.lists.insert(21, log.lists[20])
    report = judge(log)
    assert (
        named(report) == {"duplicate_output", "missing_output"}
        and report.clean()
        and not report.clean(True)
    )
    log = logged()
    log.lists.append(log.lists[5])
    report = judge(log)
    assert report.counts["regress_output"] == 1 and report.clean(), "the three lines drop it"


def test_a_newest_list_that_is_not_the_states() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    log.lists[-1] = log.lists[-1]._replace(value=listed(state, ["p9"], "purchases", 10**6))
    assert named(judge(log)) == {"unanswered", "missing_output"}
    log.lists.pop()
    assert named(judge(log)) == {"unanswered", "missing_output"}


def test_a_list_made_again_of_other_products_is_tolerated_at_least_once() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    log.lists.insert(-1, log.lists[-1]._replace(value=listed(state, ["p9"], "purchases", 10**6)))
    report = judge(log)
    assert {"redone_output", "missing_output"} <= named(report)
    assert "unanswered" not in named(report) and not report.clean(True)


def test_an_id_that_is_used_for_two_contents() -> None:
    log = logged()
    first, other = json.loads(log.lists[3].value or b""), json.loads(log.lists[7].value or b"")
    other["recommendation_id"] = first["recommendation_id"]
    log.lists[7] = log.lists[7]._replace(value=json.dumps(other).encode())
    report = judge(log)
    assert named(report) == {"duplicate_output", "reused_id"} and not report.clean()
    again = first | {"trigger": first["trigger"] | {"offset": 0}, "generated_at": "later"}
    log = logged()
    log.lists.insert(4, log.lists[3]._replace(value=json.dumps(again).encode()))
    assert "reused_id" not in named(judge(log)), "the same list again, for another record"


def test_a_list_missing_in_the_middle_shows_exactly_once_only() -> None:
    log = logged()
    del log.lists[10]
    report = judge(log)
    assert (
        named(report) == {"missing_output"}
        and report.clean()
        and not report.clean(exactly_once=True)
    )


def letter(topic: str, offset: int) -> Record:
    headers = {
        "source_topic": topic.encode(),
        "source_partition": b"0",
        "source_offset": str(offset).encode(),
    }
    return Record("dead-letters", 0, offset, KEY, b"{", headers)


def test_poison_belongs_in_the_dead_letters_once() -> None:
    log = logged()
    offset = sum(record.family == "browses" for record in log.inputs)
    log.inputs.append(Record("browses", 0, offset, KEY, b"{"))
    assert named(judge(log)) == {"unseen"}
    log.committed["browses", 0] = offset + 1
    assert named(judge(log)) == {"lost"}
    log.letters.append(letter("shop-1-browses", offset))
    assert not named(judge(log))
    log.letters.append(letter("shop-1-browses", offset))
    assert named(judge(log)) == {"duplicate_letter"} and not judge(log).clean()


def test_a_state_that_nobody_can_read() -> None:
    assert "wrong" in named(judge(with_last_state(logged(), b"\x01 no state")))


@pytest.mark.parametrize(
    "module", ["oracle.judge", "oracle.read", "oracle.state", "oracle.__main__", "workload"]
)
def test_it_shares_no_code_with_the_worker(module: str) -> None:
    command = f"import sys, tests.faults.{module}; print(sorted(m for m in sys.modules))"
    loaded: Any = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout
    assert not [name for name in ("'worker", "'pprm", "'schemas") if name in loaded]


def doctored_interactions(log: Log, change: Any) -> Log:
    """The last state with a changed copy of its sequence, as an array."""
    state = user_state.decode(log.changelog[-1].value)
    sequence = change(state.interactions().copy())
    return with_last_state(log, user_state.encode(replace(state, sequence=sequence.tobytes())))


def test_an_interaction_that_nobody_made() -> None:
    def other_product(sequence: Any) -> Any:
        sequence["product"][list(sequence["kind"]).index(Kind.VIEW)] = 5
        return sequence

    log = doctored_interactions(logged(), other_product)
    assert named(judge(log)) == {"duplicate_state", "skip", "lost"}


def test_a_counter_that_lacks_a_purchase_which_the_sequence_shows() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    counters = state.product_counters()
    counters["count"][counters["count"].argmax()] -= 1
    doctored = with_last_state(log, user_state.encode(with_counters(state, counters)))
    assert named(judge(doctored)) == {"skip", "lost"}


def test_totals_that_are_wrong() -> None:
    log = logged()
    state = user_state.decode(log.changelog[-1].value)
    for doctored in (replace(state, purchases=state.purchases + 5), replace(state, reviews=3.0)):
        assert named(judge(with_last_state(log, user_state.encode(doctored)))) == {"wrong"}


def test_a_state_deleted_by_a_null() -> None:
    log = logged()
    log.changelog.append(Record("changelog", 0, len(log.changelog), KEY, None))
    assert named(judge(log)) >= {"lost", "stale_at_end"}


def test_a_list_of_a_shopper_without_state() -> None:
    log = logged()
    log.lists.append(log.lists[-1]._replace(key=b"nobody", offset=len(log.lists)))
    assert named(judge(log)) >= {"unanswered", "missing_output"}


def test_a_worker_that_never_publishes_a_list() -> None:
    log = logged()
    log.lists.clear()
    unpublished = [
        user_state.publish(user_state.decode(record.value), [], START) for record in log.changelog
    ]
    log.changelog = [
        record._replace(value=user_state.encode(state))
        for record, state in zip(log.changelog, unpublished, strict=True)
    ]
    assert named(judge(log)) == {"unanswered", "missing_output"} and not judge(log).clean()


def test_a_newest_list_that_never_came_though_its_products_are_those_of_the_one_before() -> None:
    log = logged()
    last, before = (user_state.decode(log.changelog[at].value) for at in (-1, -2))
    log = with_last_state(log, user_state.encode(replace(last, published=before.published)))
    log.lists.pop()
    assert not judge(log).clean()


def test_a_committed_profile_that_is_not_in_the_state() -> None:
    log = logged()
    log.inputs.append(Record("users", 0, 0, KEY, b'{"user_id":"u0"}'))
    assert named(judge(log)) == {"unseen"}
    log.committed["users", 0] = 1
    assert named(judge(log)) == {"lost"}


def test_a_repeat_in_the_input_itself_is_no_fault_of_the_worker() -> None:
    log = logged()
    last = [record for record in log.inputs if record.family == "purchases"][-1]
    offset = log.committed["purchases", 0]
    log.inputs.append(last._replace(offset=offset))
    log.committed["purchases", 0] = offset + 1
    state = user_state.decode(log.changelog[-1].value)
    answered(log, state, "purchases", offset, KEY, json.loads(last.value or b""))
    assert not named(judge(log))


def published_again(
    log: Log, family: str, fields: dict[str, object], *, folded: dict[str, Any] | None
) -> Log:
    """The log with one more message on a family's topic, and a worker that folded it."""
    offset = log.committed[family, 0]
    log.inputs.append(Record(family, 0, offset, KEY, json.dumps(fields).encode()))
    log.committed[family, 0] = offset + 1
    state = user_state.decode(log.changelog[-1].value)
    answered(log, state, family, offset, KEY, folded or json.loads(log.inputs[-1].value or b""))
    return log


def newest(log: Log, family: str) -> dict[str, Any]:
    """What the newest purchase or look says."""
    found = [json.loads(record.value or b"") for record in log.inputs if record.family == family]
    return [one for one in found if "quantity" not in one and "kind" not in one][-1]


@pytest.mark.parametrize("family", ["purchases", "browses"])
def test_an_event_published_twice_that_counted_twice(family: str) -> None:
    again = newest(log := logged(), family)
    assert not named(judge(published_again(log, family, again, folded=again)))
    counted = again | {"event_id": "e9999", "basket_id": "b9999"}
    doctored = published_again(logged(), family, again, folded=counted)
    assert "duplicate_state" in named(judge(doctored))


def test_a_return_that_was_passed_over() -> None:
    bought = newest(log := logged(), "purchases")
    back = bought | {"event_id": "e9999", "kind": "return"}
    assert not named(judge(published_again(log, "purchases", back, folded=back)))
    nothing = back | {"product_id": "never bought"}
    assert "duplicate_state" in named(
        judge(published_again(logged(), "purchases", back, folded=nothing))
    )


def test_a_return_that_took_back_another_purchase() -> None:
    log = logged(200)
    bought = [
        json.loads(record.value or b"") for record in log.inputs if record.family == "purchases"
    ]
    plain = [one for one in bought if "quantity" not in one and "kind" not in one]
    one, other = (next(p for p in plain if p["product_id"] == name) for name in ("p1", "p2"))
    back = one | {"event_id": "e9999", "kind": "return"}
    wrong = other | {"event_id": "e9999", "kind": "return"}
    assert {"skip", "duplicate_state"} <= named(
        judge(published_again(log, "purchases", back, folded=wrong))
    )


def test_a_log_that_was_made_anew_is_no_step_back() -> None:
    event = Interaction(Position(1, 0, 0), Kind.VIEW, 7, START)
    known = fold(UserState(), [replace(event, position=Position(1, 0, 900, log=4))]).state
    anew = fold(known, [replace(event, position=Position(1, 0, 3, log=5))]).state
    older = fold(UserState(), [replace(event, position=Position(1, 0, 899, log=4))]).state
    for after, steps in ((anew, 0), (older, 1)):
        states = [
            Record("changelog", 0, at, KEY, user_state.encode(one))
            for at, one in enumerate((known, after))
        ]
        assert judge(Log(changelog=states)).counts["regress"] == steps
    assert anew.version == RECORD * (901 + 4)
