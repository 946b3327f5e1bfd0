"""The verdict: every input record is followed to where it must have arrived.

Expects the load of `tests.faults.workload`: each event at a second of its own, at most 1024
products, every event answered. Shoppers of whom a null on `users` was published are compared by
their watermarks only: how their events on different topics lie around it is the worker's to choose.
"""

from collections import defaultdict

from tests.faults.oracle.fold import Event, Malformed, read
from tests.faults.oracle.freshness import Rules, judge_freshness
from tests.faults.oracle.log import Log, Record, sizes
from tests.faults.oracle.outputs import judge_outputs
from tests.faults.oracle.report import CLASSES, Report
from tests.faults.oracle.shoppers import judge_shopper
from tests.faults.oracle.state import State, Unreadable, Version, parse, parse_version

__all__ = ["CLASSES", "Log", "Record", "Report", "Rules", "judge", "sizes"]

Place = tuple[str, int, int]


def judge(log: Log, rules: Rules | None = None) -> Report:
    """Judge a log; of a worker that makes lists unasked by these rules, those, too."""
    report = Report()
    events, forgotten = _events(log, _letters(log, report), report)
    versions, last = _versions(log, report)
    for key in events.keys() | last.keys():
        judge_shopper(key, events.get(key, []), last.get(key), key not in forgotten, log, report)
    judge_outputs(log, versions, forgotten, report)
    if rules:
        judge_freshness(log, events, versions, rules, report)
    return report


def _letters(log: Log, report: Report) -> set[Place]:
    """Family, partition and offset of what lies in the dead letters."""
    seen: set[Place] = set()
    for letter in log.letters:
        try:
            topic, partition, offset = (
                letter.headers[f"source_{n}"].decode() for n in ("topic", "partition", "offset")
            )
            where = topic.rsplit("-", 1)[-1], int(partition), int(offset)
        except (ValueError, KeyError):
            report.add(
                "wrong",
                f"a dead letter that does not say whence: {letter.partition}@{letter.offset}",
            )
            continue
        if where in seen and where[2] >= 0:
            report.add("duplicate_letter", f"{where}")
        seen.add(where)
    return seen


def _events(
    log: Log, letters: set[Place], report: Report
) -> tuple[dict[bytes, list[Event]], set[bytes]]:
    """Each shopper's events, and who was forgotten."""
    events: dict[bytes, list[Event]] = defaultdict(list)
    forgotten: set[bytes] = set()
    for record in log.inputs:
        where = record.family, record.partition, record.offset
        if where in letters:
            continue
        try:
            events[record.key or b""].append(read(record))
        except Malformed as error:
            text = f"{record.family}-{record.partition}@{record.offset}: {error}"
            report.add("lost" if log.is_committed(*where) else "unseen", text)
        if record.family == "users" and record.value is None:
            forgotten.add(record.key or b"")
    return events, forgotten


def _versions(
    log: Log, report: Report
) -> tuple[dict[bytes, list[Version | None]], dict[bytes, State | None]]:
    """Each shopper's states in the order of the changelog, and the last one whole.

    None where it was deleted.
    """
    versions: dict[bytes, list[Version | None]] = defaultdict(list)
    newest: dict[bytes, Record] = {}
    highest: dict[bytes, dict[tuple[str, int, int], int]] = defaultdict(dict)
    stale: dict[bytes, str] = {}
    for record in log.changelog:
        key = record.key or b""
        try:
            version = None if record.value is None else parse_version(record.value)
        except Unreadable as error:
            report.add("wrong", f"{key!r} at {record.partition}@{record.offset}: {error}")
            continue
        stale.pop(key, None)
        if older := _older(version, highest[key]):
            stale[key] = f"{key!r} at {record.partition}@{record.offset}: {older}"
            report.add("regress", stale[key])
        versions[key].append(version)
        newest[key] = record
    for said in stale.values():
        report.add("stale_at_end", said)
    return versions, {
        key: state for key, record in newest.items() for state in _whole(record, report)
    }


def _older(version: Version | None, highest: dict[tuple[str, int, int], int]) -> str:
    """In which topic a state is older than one before it, empty where in none."""
    if version is None:
        return "deleted" if highest else ""
    said = ""
    marks = [(family, *mark) for family, marks in version.watermarks.items() for mark in marks]
    for family, partition, log, offset in marks:
        before = highest.get((family, partition, log), -1)
        if offset < before:
            said = f"{family}-{partition} {before} -> {offset}"
        elif partition >= 0:
            highest[family, partition, log] = offset
    known = {family for family, partition, _, _ in marks if partition >= 0}
    if not said and (gone := [f"{f}-{p}" for f, p, _ in highest if f not in known]):
        said = f"{gone[0]} unknown"
    return said


def _whole(record: Record, report: Report) -> list[State | None]:
    try:
        return [None if record.value is None else parse(record.value)]
    except Unreadable as error:
        report.add("wrong", f"{record.key!r} at {record.partition}@{record.offset}: {error}")
        return [None]
