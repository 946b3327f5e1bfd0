"""One shopper: the events against the last state."""

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.faults.oracle import state as layout
from tests.faults.oracle.fold import (
    PURCHASE,
    REVIEW,
    Event,
    Expected,
    decayed,
    decayed_by_basket,
    fold,
)
from tests.faults.oracle.log import Log
from tests.faults.oracle.report import Report
from tests.faults.oracle.state import State

KEPT = 128
TOLERANCE = 1e-3
RING = (1 << 64) - 1


def judge_shopper(
    key: bytes, events: list[Event], state: State | None, exact: bool, log: Log, report: Report
) -> None:
    """Follow each event to the state; compare what the state holds only where `exact`."""
    covered = []
    for event in events:
        if state and any(_is_past(mark, event) for mark in state.watermarks[event.family]):
            covered.append(event)
        else:
            committed = log.is_committed(event.family, event.partition, event.offset)
            report.add("lost" if committed else "unseen", f"{key!r} {event}")
    if not state or not exact:
        return
    expected, before = fold(covered), report.counts.total()
    missing, extra = _sequence(key, expected, state, log, report)
    for product in expected.bought.keys() | state.counters.keys():
        _counts(key, product, expected, state, missing[product], extra[product], log, report)
    if report.counts.total() == before:
        _values(key, expected, state, report)


def _is_past(mark: layout.Mark, event: Event) -> bool:
    return mark.partition == event.partition and event.offset <= mark.offset


def _sequence(
    key: bytes, expected: Expected, state: State, log: Log, report: Report
) -> tuple[Counter[int], Counter[int]]:
    """Report what the sequence lacks or has too often.

    Returns how many purchases these are, by product.
    """
    held = Counter(state.sequence)
    made = Counter(event.act for mine in expected.acts.values() for event in mine)
    extra = held - made
    for act, count in extra.items():
        report.add(
            "duplicate_state", f"{key!r}: {act} in the sequence, {made[act]} in the input", count
        )
    held -= extra
    kept: Counter[str] = Counter()
    for (_, _, kind), count in held.items():
        kept[_family(kind)] += count
    missing = [
        event
        for family, mine in expected.acts.items()
        for event in _not_held(mine, held, kept[family], is_full=expected.made > KEPT)
    ]
    for event in missing:
        report.add("skip", f"{key!r} {event}")
        if log.is_committed(event.family, event.partition, event.offset):
            report.add("lost", f"{key!r} {event}")
    purchases = Counter(event.product for event in missing if event.kind == PURCHASE)
    twice: Counter[int] = Counter()
    for (product, _, kind), count in extra.items():
        twice[product] += count if kind == PURCHASE else 0
    return purchases, twice


def _not_held(
    mine: list[Event], held: Mapping[tuple[int, int, int], int], kept: int, *, is_full: bool
) -> list[Event]:
    """Of a sequence that was full the newest of a family must be there, without a hole.

    Of any other, all.
    """
    due = mine[len(mine) - kept :] if is_full else mine
    left, missing = Counter(held), []
    for event in reversed(due):
        if left[event.act] > 0:
            left[event.act] -= 1
        else:
            missing.append(event)
    return missing[::-1]


def _family(kind: int) -> str:
    return {PURCHASE: "purchases", REVIEW: "reviews"}.get(kind, "browses")


def _counts(
    key: bytes,
    product: int,
    expected: Expected,
    state: State,
    missing: int,
    extra: int,
    log: Log,
    report: Report,
) -> None:
    """Report by how much a product's count is off, as far as the sequence has not told."""
    counter = state.counters.get(product)
    has, want = counter.count if counter else 0, len(expected.bought.get(product, ()))
    text = f"{key!r}: product {product} {has} times, not {want}"
    if (twice := has - want - extra) > 0:
        report.add("duplicate_state", text, twice)
    if (skipped := want - has - missing) > 0:
        report.add("skip", text, skipped)
        candidates = [event for event in expected.acts["purchases"] if event.product == product]
        open_ = sum(
            not log.is_committed(event.family, event.partition, event.offset)
            for event in candidates
        )
        if (lost := skipped - open_) > 0:
            report.add("lost", text, lost)


def _values(key: bytes, expected: Expected, state: State, report: Report) -> None:
    """Times, decayed counts and sums, where all counts agree."""
    for product, counter in state.counters.items():
        if product in expected.vague:
            continue
        want = _counter(expected.bought[product], expected.ring_from.get(product, 0))
        if not _agree(counter, want):
            report.add("wrong", f"{key!r}: product {product} is {counter}, not {want}")
    totals = _totals(expected)
    if not _agree(state.totals, totals):
        report.add("wrong", f"{key!r}: {state.totals}, not {totals}")


def _counter(bought: list[tuple[int, int]], ring_from: int) -> layout.Counter:
    times, baskets = [time for time, _ in bought], [basket for _, basket in bought]
    ring = sum(1 << max(baskets) - basket for basket in baskets if basket >= ring_from) & RING
    return layout.Counter(
        len(bought), decayed(times, 7), decayed(times, 28), decayed(times, 112),
        decayed_by_basket(baskets),
        min(times), max(times), max(baskets), ring,
    )  # fmt: skip


def _totals(expected: Expected) -> layout.Totals:
    purchases, times = sum(map(len, expected.bought.values())), expected.baskets
    return layout.Totals(
        purchases, len(times), min(times, default=0), max(times, default=0), decayed(times, 28),
        decayed(times, 112),
        decayed([review.time for review in expected.acts["reviews"]], 112),
    )  # fmt: skip


def _agree(has: Iterable[float], want: Iterable[float]) -> bool:
    """Whole numbers exactly, decayed ones nearly; a NaN never."""
    return all(
        abs(a - b) <= TOLERANCE * abs(b) if isinstance(b, float) else a == b
        for a, b in zip(has, want, strict=True)
    )
