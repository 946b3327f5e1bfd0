"""The three lines of docs/reliability.md against what a consumer may get."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def documented() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return str(code)


def consume(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A consumer's loop with the lines in it."""
    newest: dict[str, int] = {}
    taken = []
    for message in messages:
        if message["version"] <= newest.get(message["user_id"], -1):
            continue
        newest[message["user_id"]] = message["version"]
        taken.append(message)
    return taken


def test_the_lines_tested_are_the_documented_ones() -> None:
    lines = documented().strip().splitlines()
    assert len(lines) == 3
    assert "\n".join(f"        {line}" for line in lines) in inspect.getsource(consume)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9))))
def test_a_consumer_takes_every_list_once_and_never_goes_back(sent: list[tuple[str, int]]) -> None:
    taken = consume([{"user_id": user, "version": version} for user, version in sent])
    for user in "ab":
        versions = [message["version"] for message in taken if message["user_id"] == user]
        assert versions == sorted(set(versions))
        wanted = [version for name, version in sent if name == user]
        assert not wanted or versions[-1] == max(wanted), "it ends with the newest"


def test_repeats_after_a_crash_and_late_writes_of_a_suspended_worker_are_dropped() -> None:
    sent = [3, 4, 3, 4, 5, 2]
    assert [m["version"] for m in consume([{"user_id": "a", "version": v} for v in sent])] == [
        3,
        4,
        5,
    ]


@pytest.mark.parametrize("name", ["version", "user_id"])
def test_the_lines_use_fields_that_lists_have(name: str) -> None:
    from schemas.recommendations import Recommendation

    assert name in Recommendation.model_fields and f'message["{name}"]' in documented()
