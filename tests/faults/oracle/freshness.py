"""Lists that nobody asked for: made when they were due, and because a product went.

By the layout's and the settings' description in docs, for a load whose times only grow.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from tests.faults.oracle.fold import RETURN, Event
from tests.faults.oracle.log import Log, Record
from tests.faults.oracle.report import Report
from tests.faults.oracle.state import FAMILIES, Version

ANSWERS = {"event", "request"}
UNASKED = {"refresh", "retraction"}

Place = tuple[str, int, int]


class Rules(NamedTuple):
    """As the worker was set."""

    period: int
    """Seconds after which a list is old."""
    session: int
    """Seconds of rest after which a visit is over."""


class Made(NamedTuple):
    """A list as far as it matters here."""

    version: int
    kind: str
    trigger: Place
    products: frozenset[str]
    content: bytes


def judge_freshness(
    log: Log,
    events: Mapping[bytes, list[Event]],
    versions: Mapping[bytes, list[Version | None]],
    rules: Rules,
    report: Report,
) -> None:
    """Reasons, versions, due times, and products that are gone."""
    lists = {key: [_made(value) for value in mine] for key, mine in _read(log).items()}
    gone = _withdrawn(log)
    records = {(r.family, r.partition, r.offset): r for r in [*log.inputs, *log.products]}
    for key, mine in lists.items():
        for made in mine:
            if why := _unfounded(key, made, records, log.products):
                report.add("no_reason", f"{key!r} version {made.version}: {why}")
        _versions(key, mine, versions.get(key, ()), report)
        newest = next((m for m in mine if m.version == max(one.version for one in mine)), None)
        if newest and (held := newest.products & gone):
            report.add("withdrawn", f"{key!r} has {sorted(held)}")
    now = _stream_times(log, events)
    homes = {record.key: record.partition for record in log.changelog}
    for key, states in versions.items():
        acts = [event for event in events.get(key, ()) if event.product and event.kind != RETURN]
        _too_soon(key, states, acts, lists.get(key, []), rules, report)
        due = _due(key, states[-1], acts, rules) if states else None
        if due is not None and due <= now.get(homes[key], 0):
            report.add("overdue", f"{key!r}: due {due}, it is {now[homes[key]]}")


def _read(log: Log) -> dict[bytes, list[dict[str, Any]]]:
    lists: dict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for record in log.lists:
        if record.value is not None:
            lists[record.key or b""].append(orjson.loads(record.value))
    return lists


def _made(value: dict[str, Any]) -> Made:
    trigger = value["trigger"]
    place = trigger["topic"].rsplit("-", 1)[-1], trigger["partition"], trigger["offset"]
    names = [item["product_id"] for item in value["items"]]
    return Made(
        value["version"], trigger.get("kind", ""), place, frozenset(names), orjson.dumps(names)
    )


def _withdraws(record: Record) -> bool:
    return record.value is None or orjson.loads(record.value).get("available") is False


def _withdrawn(log: Log) -> set[str]:
    """Products whose last record withdraws them."""
    last = {record.key: record for record in log.products}
    return {(key or b"").decode() for key, record in last.items() if _withdraws(record)}


def _unfounded(
    key: bytes, made: Made, records: Mapping[Place, Record], products: Iterable[Record]
) -> str:
    """What is wrong with the reason of a list, empty where nothing is."""
    record = records.get(made.trigger)
    if record is None:
        return f"there is no record {made.trigger}"
    if made.kind in ANSWERS:
        is_request = record.family == "requests"
        fits = record.key == key and is_request == (made.kind == "request")
        return "" if fits else f"{made.kind} by {made.trigger} of {record.key!r}"
    if made.kind == "refresh":
        return "" if record.family in FAMILIES else f"a refresh by {made.trigger}"
    if made.kind != "retraction" or record.family != "products" or not _withdraws(record):
        return f"{made.kind} by {made.trigger}"
    last: dict[bytes | None, bool] = {}
    for each in products:
        if each.partition == record.partition and each.offset <= record.offset:
            last[each.key] = _withdraws(each)
    held = {name for name in made.products if last.get(name.encode())}
    return f"a retraction that holds {sorted(held)}" if held else ""


def _versions(
    key: bytes, mine: list[Made], states: Iterable[Version | None], report: Report
) -> None:
    """An answer is above every list before it that does not know of its event.

    One that comes again, after others that do know of it, need not be.
    """
    known = defaultdict(list)
    for state in states:
        if state is not None:
            known[state.number].append(state)
    unasked: set[int] = set()
    for made in mine:
        if made.kind in UNASKED:
            unasked.add(made.version)
        elif made.version in unasked and not any(
            _covers(state, *made.trigger) for state in known[made.version]
        ):
            said = f"{key!r}: {made.version} answers {made.trigger}, and a list before does not"
            report.add("shared_version", said)


def _covers(state: Version, family: str, partition: int, offset: int) -> bool:
    return any(
        mark.partition == partition and offset <= mark.offset
        for mark in state.watermarks.get(family, ())
    )


def _stream_times(log: Log, events: Mapping[bytes, list[Event]]) -> dict[int, int]:
    """By partition, the newest event time of the shoppers whose states are in it."""
    times: dict[int, int] = {}
    homes = {record.key: record.partition for record in log.changelog}
    for key, mine in events.items():
        if (home := homes.get(key)) is not None:
            times[home] = max([times.get(home, 0), *(event.time for event in mine)])
    return times


def _due(key: bytes, state: Version | None, acts: list[Event], rules: Rules) -> int | None:
    """From when on a list is to be made again, None where there is none."""
    if state is None or not state.listed_at:
        return None
    known = [act.time for act in acts if _covers(state, act.family, act.partition, act.offset)]
    if (ends := max(known, default=0) + rules.session) > state.listed_at:
        return ends
    slot = int.from_bytes(blake2b(key, digest_size=8).digest(), "little") % rules.period
    at = state.listed_at - state.listed_at % rules.period + slot
    return at if at > state.listed_at else at + rules.period


def _too_soon(
    key: bytes,
    states: list[Version | None],
    acts: list[Event],
    lists: list[Made],
    rules: Rules,
    report: Report,
) -> None:
    """A refresh that follows on a list that was not due yet."""
    kinds = defaultdict(set)
    for made in lists:
        kinds[made.version].add(made.kind)
    for before, after in pairwise(states):
        if before is None or after is None or kinds[after.number] != {"refresh"}:
            continue
        if after.base == before.base + 1 and after.watermarks == before.watermarks:
            due = _due(key, before, acts, rules)
            if due is not None and after.listed_at < due:
                report.add("too_soon", f"{key!r}: due {due}, refreshed at {after.listed_at}")
