"""The lists against the states that they were made from."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from tests.faults.oracle.fold import product_hash
from tests.faults.oracle.freshness import ANSWERS
from tests.faults.oracle.log import Log, Record
from tests.faults.oracle.report import Report
from tests.faults.oracle.state import Version

CONTENT = ("user_id", "version", "model", "items")
"""What a list says; when and because of which record it was made is not part of it."""


class List(NamedTuple):
    """A list as far as it matters here."""

    version: int
    products: list[int]


def judge_outputs(
    log: Log, versions: Mapping[bytes, list[Version | None]], forgotten: set[bytes], report: Report
) -> None:
    """Repeats, the order of a shopper's lists, and that the newest is the newest state's."""
    lists = _lists(log, report)
    for key in lists.keys() | versions.keys():
        states, mine = versions.get(key, []), lists.get(key, [])
        _newest(key, states[-1] if states else None, mine, key in forgotten, report)
        _pairs(key, states, mine, key in forgotten, report)


def _lists(log: Log, report: Report) -> dict[bytes, list[List | None]]:
    """Each shopper's lists in the order of the topic, None where the shopper was forgotten."""
    ids: Counter[str] = Counter()
    contents: dict[str, set[bytes]] = defaultdict(set)
    lists: dict[bytes, list[List | None]] = defaultdict(list)
    highest: dict[tuple[object, ...], int] = {}
    for record in log.lists:
        key = record.key or b""
        if record.value is None:
            lists[key].append(None)
            continue
        try:
            value = orjson.loads(record.value)
            made = List(
                value["version"], [product_hash(item["product_id"]) for item in value["items"]]
            )
            positions = _positions(key, value)
            ids[value["recommendation_id"]] += 1
            contents[value["recommendation_id"]].add(_content(value))
        except (ValueError, KeyError, TypeError):
            report.add("wrong", f"{_where(record)}: a list that cannot be read")
            continue
        if any(at < highest.get(what, at) for what, at in positions.items()):
            report.add("regress_output", _where(record))
        highest |= {what: max(at, highest.get(what, at)) for what, at in positions.items()}
        lists[key].append(made)
    for name, count in ids.items():
        if count > 1:
            report.add("duplicate_output", name, count - 1)
        if len(contents[name]) > 1:
            report.add("reused_id", name, len(contents[name]) - 1)
    return lists


def _positions(key: bytes, value: Mapping[str, Any]) -> dict[tuple[object, ...], int]:
    """What only grows with a shopper's lists: the version, and of answers the record."""
    trigger = value["trigger"]
    asked = (
        {(key, trigger["topic"], trigger["partition"]): trigger["offset"]}
        if trigger.get("kind") in ANSWERS
        else {}
    )
    return {(key,): value["version"], **asked}


def _content(value: Mapping[str, object]) -> bytes:
    said = orjson.dumps([value.get(name) for name in CONTENT], option=orjson.OPT_SORT_KEYS)
    return blake2b(said, digest_size=16).digest()


def _newest(
    key: bytes, state: Version | None, lists: list[List | None], forgotten: bool, report: Report
) -> None:
    if forgotten and not (state and state.published):
        if lists and lists[-1] is not None:
            report.add("unanswered", f"{key!r}: forgotten, and the list is still there")
        return
    newest = None
    for made in lists:  # as a consumer drops repeats
        if made and (newest is None or made.version > newest.version):
            newest = made
    due = List(state.number, state.published) if state else None
    if newest and due and newest.version == due.version and due in lists:
        if newest != due:
            report.add(
                "redone_output", f"{key!r}: version {due.version} came with other products first"
            )
    elif newest != due:
        report.add(
            "unanswered",
            f"{key!r}: {newest and newest.version}, the state's is {due and due.version}",
        )


def _pairs(
    key: bytes,
    states: list[Version | None],
    lists: list[List | None],
    forgotten: bool,
    report: Report,
) -> None:
    """A list for every state, in order.

    What a forgotten shopper's states without a list are is left open.
    """
    should = [
        List(state.number, state.published)
        for state in states
        if state and (state.published or not forgotten)
    ]
    has = [made for made in lists if made]
    if should != has:
        text = f"{key!r}: {len(should)} states, {len(has)} lists"
        report.add("missing_output", text, abs(len(should) - len(has)) or 1)


def _where(record: Record) -> str:
    return f"{record.key!r} at {record.partition}@{record.offset}"
