"""From where a partition is gone on, by what is committed and what the broker says of its log."""

import pytest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from worker.runtime.commits import Anchor, Finding, Note, anchor, differ, note_of

A, B = 7, 8
"""Numbers of two topics of one name."""


def at(offset: int, topic: int = A, log: int = A) -> OffsetAndMetadata:
    return Note(topic, log).commit(offset)


@pytest.mark.parametrize(
    ("commit", "topic", "begins", "ends", "expected"),
    [
        (None, A, 3, 9, Anchor(3, A, Finding.NEW)),
        (at(5), A, 0, 9, Anchor(5, A, Finding.GOES_ON)),
        (at(9), A, 0, 9, Anchor(9, A, Finding.GOES_ON)),
        (at(5), B, 0, 9, Anchor(0, B, Finding.RECREATED)),
        (at(5), B, 0, 2, Anchor(0, B, Finding.RECREATED)),
        (at(5), A, 7, 9, Anchor(7, A, Finding.DELETED)),
        (at(5), A, 0, 3, Anchor(3, A + 1, Finding.CUT)),
        (at(5, A, A + 1), A, 0, 9, Anchor(5, A + 1, Finding.GOES_ON)),
        (at(5, A, A + 1), A, 0, 3, Anchor(3, A + 2, Finding.CUT)),
        (at(5, 0, 0), 0, 0, 3, Anchor(0, 1, Finding.RECREATED)),
        (at(5, 0, 1), 0, 0, 9, Anchor(5, 1, Finding.GOES_ON)),
        (at(5, 0, 1), B, 0, 9, Anchor(5, 1, Finding.GOES_ON)),
        (OffsetAndMetadata(5, ""), A, 0, 9, Anchor(5, A, Finding.GOES_ON)),
        (OffsetAndMetadata(5, "by hand"), A, 0, 9, Anchor(5, A, Finding.GOES_ON)),
    ],
)
def test_where_a_partition_is_gone_on_from(
    commit: OffsetAndMetadata | None, topic: int, begins: int, ends: int, expected: Anchor
) -> None:
    assert anchor(commit, topic, begins, ends) == expected


@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(1, 2**32 - 1),
    st.booleans(),
)
def test_nothing_that_is_there_and_new_is_passed_over(
    committed: int, begins: int, more: int, log: int, is_another: bool
) -> None:
    """All above the commit in the same log, everything in another one."""
    ends = begins + more
    found = anchor(at(committed, A, log), B if is_another else A, begins, ends)
    assert begins <= found.offset <= ends
    if is_another:
        assert (found.offset, found.log) == (begins, B)
    elif committed > ends:
        assert found.log != log and 0 < found.log < 2**32, "offsets are given out again"
    else:
        assert (found.offset, found.log) == (max(committed, begins), log)


def test_a_note_comes_back_and_what_is_none_says_nothing() -> None:
    note = Note(1, 2, 3, 4)
    assert note_of(note.commit(5)) == note and note.commit(5).offset == 5
    for said in ("", "{", "[]", '{"topic":"x"}', "null"):
        assert note_of(OffsetAndMetadata(5, said)) == Note()


def test_that_the_changelog_grew_is_no_reason_to_commit_again() -> None:
    held = Note(1, 2, 3, 4).commit(5)
    assert not differ(Note(1, 2, 3, 9).commit(5), held)
    for other in (
        Note(1, 2, 3, 4).commit(6),
        Note(1, 1, 3, 4).commit(5),
        Note(1, 2, 4, 4).commit(5),
    ):
        assert differ(other, held)
