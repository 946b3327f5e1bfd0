"""The offset ledger against a broker that drops, repeats and reorders fetched ranges."""

from hypothesis import given
from hypothesis import strategies as st

from worker.runtime.ledger import Ledger, Verdict

TP = ("purchases", 0)


def ledger_at(offset: int) -> Ledger:
    ledger = Ledger()
    ledger.assign({TP: offset})
    return ledger


def test_takes_what_is_next_and_commits_it_once_finished() -> None:
    ledger = ledger_at(10)
    assert ledger.admit(TP, 10, 14) is Verdict.TAKE
    assert ledger.committable() == {}
    ledger.finish(ledger.epoch, {TP: 15})
    assert ledger.committable() == {TP: 15}
    ledger.committed({TP: 15})
    assert ledger.committable() == {}


def test_a_batch_finishes_what_is_its_own_and_not_what_was_admitted_after_it() -> None:
    ledger = ledger_at(10)
    ledger.admit(TP, 10, 14)
    ledger.admit(TP, 15, 19)
    ledger.finish(ledger.epoch, {TP: 15})
    assert (
        ledger.committable() == {TP: 15}
        and ledger.positions() == {TP: 15}
        and ledger.fetch_from() == {TP: 20}
    )


def test_an_overlapping_range_is_taken_from_the_expected_offset() -> None:
    ledger = ledger_at(10)
    assert ledger.expected(TP) == 10
    assert ledger.admit(TP, 7, 12) is Verdict.TAKE
    assert ledger.expected(TP) == 13
    assert ledger.admit(TP, 8, 12) is Verdict.REPEAT


def test_a_hole_is_never_believed_however_often_it_is_seen() -> None:
    ledger = ledger_at(10)
    for _ in range(20):
        assert ledger.admit(TP, 12, 13) is Verdict.SEEK_BACK
    assert ledger.admit(TP, 10, 11) is Verdict.TAKE


def test_what_the_broker_has_deleted_is_passed_over_and_counted() -> None:
    ledger = ledger_at(10)
    assert ledger.begins(TP, 7) == ledger.begins(TP, 10) == 0
    assert ledger.begins(TP, 12) == 2
    assert ledger.admit(TP, 12, 13) is Verdict.TAKE
    ledger.finish(ledger.epoch, {TP: 14})
    assert ledger.committable() == {TP: 14}


def test_what_was_admitted_before_a_rebalance_is_never_committed() -> None:
    ledger = ledger_at(10)
    ledger.admit(TP, 10, 14)
    before = ledger.epoch
    ledger.revoke()
    assert ledger.admit(TP, 15, 16) is Verdict.FOREIGN
    ledger.assign({TP: 10})
    ledger.finish(before, {TP: 15})
    assert ledger.committable() == {}
    assert ledger.expected(TP) == 10


Step = st.one_of(
    st.tuples(st.just("fetch"), st.integers(1, 5)),
    st.tuples(st.just("finish"), st.integers(1, 2)),
    st.tuples(st.just("move"), st.integers(-9, 9)),
    st.tuples(st.just("delete"), st.integers(1, 9)),
    st.tuples(st.just("rebalance"), st.just(0)),
    st.tuples(st.just("commit"), st.just(0)),
)


def finish(ledger: Ledger, in_hand: list[range], n: int) -> set[int]:
    """Finish the first n batches in hand; returns their offsets."""
    some = in_hand[:n]
    del in_hand[:n]
    for batch in some:
        ledger.finish(ledger.epoch, {TP: batch.stop})
    return {offset for batch in some for offset in batch}


@given(st.lists(Step, max_size=60))
def test_no_offset_is_lost_or_committed_unprocessed(steps: list[tuple[str, int]]) -> None:
    """An independent count of what was processed.

    Everything below the commit, in order, is in it.
    """
    ledger, position, committed = ledger_at(0), 0, 0
    processed: set[int] = set()
    in_hand: list[range] = []
    beginning = 0
    for what, n in steps:
        if what == "move":  # on: fetched and thrown away by someone on the way; back: a repeat
            position = max(position + n, beginning)
        # by retention; whoever then fetches what is gone gets what the log begins with
        elif what == "delete":
            beginning += n
            position = max(position, beginning)
        elif what == "rebalance":
            ledger.revoke()
            ledger.assign({TP: committed})
            in_hand.clear()
            position = max(committed, beginning)
        elif what == "finish":
            processed |= finish(ledger, in_hand, n)
        elif what == "commit":
            offsets = ledger.committable()
            committed = offsets.get(TP, committed)
            ledger.committed(offsets)
        else:
            expected = ledger.expected(TP)
            assert expected is not None
            verdict = ledger.admit(TP, position, position + n - 1)
            if verdict is Verdict.TAKE:
                position += n
                in_hand.append(range(expected, position))
            else:
                expected += ledger.begins(TP, beginning)
                position = expected
        assert set(range(committed)) <= processed | set(range(beginning))


def test_a_batch_of_before_a_rebalance_does_not_finish_what_was_admitted_after() -> None:
    ledger = ledger_at(10)
    ledger.admit(TP, 10, 14)
    before = ledger.epoch
    ledger.revoke()
    ledger.assign({TP: 10})
    ledger.admit(TP, 10, 14)
    ledger.finish(before, {TP: 15})
    assert ledger.committable() == {}


def test_a_single_record_that_is_next_is_taken() -> None:
    ledger = ledger_at(10)
    assert [ledger.admit(TP, offset, offset) for offset in (10, 11, 10)] == [
        Verdict.TAKE,
        Verdict.TAKE,
        Verdict.REPEAT,
    ]
    assert ledger.fetch_from() == {TP: 12} and ledger.positions() == {TP: 10}
