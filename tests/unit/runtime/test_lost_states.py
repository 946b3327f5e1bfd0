"""Which of changelog and files to believe, for one partition."""

import pytest

from worker.runtime.commits import Note
from worker.runtime.lost_states import Files, Whereabouts, judge

OLD, NOW = 7, 8
"""Numbers of changelogs."""
TOPIC = 3
IN_THE_CHANGELOG, IN_THE_FILES, LOST = Whereabouts


def files(changelog: int = NOW, **covered: int) -> Files:
    return Files(changelog, {topic: (TOPIC, offset) for topic, offset in covered.items()})


def verdict(
    held: Files, end: int, is_theirs: bool, now: int = NOW, **commits: tuple[int, int, int]
) -> Whereabouts:
    """Commits: offset, number of the changelog, its end."""
    made = {
        topic: Note(TOPIC, TOPIC, log, ends).commit(offset)
        for topic, (offset, log, ends) in commits.items()
    }
    return judge(held, now, end, made, is_theirs=is_theirs)


def test_a_changelog_that_holds_all_is_believed_whatever_the_files_are() -> None:
    for held in (files(), files(OLD, purchases=5), files(0)):
        for is_theirs in (True, False):
            assert verdict(held, 20, is_theirs, purchases=(5, NOW, 20)) is IN_THE_CHANGELOG
            assert verdict(held, 20, is_theirs) is IN_THE_CHANGELOG, "nothing was processed"


@pytest.mark.parametrize("end", [0, 99])
def test_files_of_a_deleted_changelog_are_believed_if_they_hold_all_that_was_processed(
    end: int,
) -> None:
    commits = {"purchases": (5, OLD, 20), "browses": (9, OLD, 21)}
    assert verdict(files(OLD, purchases=5, browses=9), end, False, **commits) is IN_THE_FILES
    assert verdict(files(OLD, purchases=6, browses=9), end, False, **commits) is IN_THE_FILES
    assert verdict(files(OLD, purchases=4, browses=9), end, False, **commits) is LOST
    assert verdict(files(OLD, purchases=5), end, False, **commits) is LOST
    assert verdict(files(0), end, True, **commits) is LOST, "no files at all"


def test_a_write_back_that_ended_half_way_is_done_again() -> None:
    commits = {"purchases": (5, OLD, 20)}
    assert verdict(files(0, purchases=5), 3, True, **commits) is IN_THE_FILES
    assert verdict(files(NOW, purchases=5), 3, True, **commits) is IN_THE_FILES, (
        "before its offsets were committed"
    )


def test_a_changelog_that_lost_its_end() -> None:
    assert verdict(files(NOW, purchases=5), 19, False, purchases=(5, NOW, 20)) is IN_THE_FILES
    assert verdict(files(NOW, purchases=5), 19, True, purchases=(5, NOW, 20)) is IN_THE_FILES
    assert verdict(files(NOW, purchases=4), 19, True, purchases=(5, NOW, 20)) is LOST
    assert verdict(files(0, purchases=5), 19, True, now=0, purchases=(5, 0, 20)) is IN_THE_FILES, (
        "no ids"
    )


def test_files_of_another_log_of_the_input_prove_nothing() -> None:
    held = Files(OLD, {"purchases": (TOPIC + 1, 50)})
    assert verdict(held, 0, False, purchases=(5, OLD, 20)) is LOST


def test_commits_without_notes_are_trusted_with_the_changelog_but_not_with_others_files() -> None:
    assert verdict(files(0), 20, True, purchases=(5, 0, 0)) is IN_THE_CHANGELOG
    assert verdict(files(OLD), 20, False, purchases=(5, 0, 0)) is LOST
