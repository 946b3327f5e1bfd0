"""Does the changelog still hold all that the group has processed? If not, do the files here? Pure.

A changelog that was deleted and created again, or that has lost its end, lacks states of events
that nobody will read again. Every commit says which changelog was complete for it and how far it
went (`commits.Note`); every partition's files say which input they hold (`BatchTable.covered`).
"""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from aiokafka.structs import OffsetAndMetadata

from pprm.core.errors import Foreseen
from worker.runtime.commits import note_of
from worker.runtime.table import Covered


class Whereabouts(Enum):
    """Where the states of a partition are."""

    IN_THE_CHANGELOG = "the changelog is complete"
    IN_THE_FILES = "the changelog lacks states, the files here have them all"
    LOST = "the changelog lacks states, and so do the files here"


class StatesLost(Foreseen, RuntimeError):
    """Neither the changelog nor the files hold the states of what is committed.

    The message says what to do.
    """

    def __init__(self, tp: tuple[str, int], path: Path) -> None:
        super().__init__(
            f"{tp[0]} lacks states of partition {tp[1]}: it was deleted and created again,"
            f" or has lost its end, and {path} does not hold all that the group has"
            " processed. Start the worker whose state directory held the partition last,"
            " or give its files to this one. If nobody has them: have the group read its"
            " topics from their beginning (kafka-consumer-groups --reset-offsets"
            " --to-earliest), or set state.accept_lost to go on with what there is"
        )


class Files(NamedTuple):
    """What a partition's files say of themselves."""

    changelog: int
    """Number of the changelog that they were written beside; 0: unknown, or there are none."""
    covered: Covered


def judge(
    files: Files,
    changelog: int,
    end: int,
    commits: Mapping[str, OffsetAndMetadata],
    *,
    is_theirs: bool,
) -> Whereabouts:
    """Decide for one partition.

    Args:
        files: the local ones.
        changelog: number of the changelog as it is now, 0 where the broker has none.
        end: where its partition ends now.
        commits: the group's, by input topic, of the same partition. Without any nothing was
            processed yet, and files that are not of this changelog are of another shop.
        is_theirs: whether the files can be of this changelog: their offsets are in it.
    """
    notes = [note_of(commit) for commit in commits.values()]
    mine = [note for note in notes if note.changelog == changelog]
    of_another = any(note.changelog and changelog and note.changelog != changelog for note in notes)
    is_short = of_another or any(note.end > end for note in mine)
    is_known = is_theirs or not commits or any(note.changelog or note.end for note in mine)
    if is_known and not is_short:
        return Whereabouts.IN_THE_CHANGELOG
    return Whereabouts.IN_THE_FILES if _cover(files.covered, commits) else Whereabouts.LOST


def _cover(covered: Covered, commits: Mapping[str, OffsetAndMetadata]) -> bool:
    """Whether the files hold all that is committed."""
    return all(_covers(covered.get(topic), commit) for topic, commit in commits.items())


def _covers(covered: tuple[int, int] | None, commit: OffsetAndMetadata) -> bool:
    if not commit.offset:
        return True
    log, offset = covered or (0, -1)
    known = note_of(commit).log
    return offset >= commit.offset and (log == known or not known)
