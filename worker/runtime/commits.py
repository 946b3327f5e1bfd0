"""What a commit says besides its offset, and where reading a partition goes on. Pure.

An offset alone does not say which log it is of. A topic of the same name may be another one by now,
and a log may have lost its end. So each commit carries a note, in the field that Kafka has for it.
"""

from enum import Enum
from typing import NamedTuple

import msgspec
from aiokafka.structs import OffsetAndMetadata

from worker.runtime.metadata import NONE

_LAST = 1 << 32


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """Numbers of logs, `metadata.NONE` where unknown."""

    topic: int = NONE
    """Of the topic that the offset is of."""
    log: int = NONE
    """Number of the log as in watermarks: the topic's, plus one each time the log lost its end."""
    changelog: int = NONE
    """Of the changelog that holds the states of all that lies below the offset."""
    end: int = 0
    """Where the changelog's partition ended at least."""

    def commit(self, offset: int) -> OffsetAndMetadata:
        """An offset with this note."""
        return OffsetAndMetadata(offset, msgspec.json.encode(self).decode())


def note_of(commit: OffsetAndMetadata) -> Note:
    """Return the note of a commit; an empty one where the commit has none that can be read."""
    try:
        return msgspec.json.decode(commit.metadata or "", type=Note)
    except msgspec.DecodeError:
        return Note()


def differ(commit: OffsetAndMetadata, held: OffsetAndMetadata) -> bool:
    """Whether two commits say something else; a changelog that has only grown does not count."""
    mine, theirs = note_of(commit), note_of(held)
    logs = (mine.topic, mine.log, mine.changelog) != (theirs.topic, theirs.log, theirs.changelog)
    return logs or commit.offset != held.offset


class Finding(Enum):
    """What the group's offset and the broker's log say together."""

    GOES_ON = "goes on"
    NEW = "nothing is committed: from the beginning"
    RECREATED = "the topic was deleted and created again: from its beginning"
    DELETED = (
        "offsets are gone from the broker, the log begins"
        " later than what was committed: from its beginning"
    )
    CUT = "the log ends before what is committed: from its end"


class Anchor(NamedTuple):
    """Where a partition is gone on from."""

    offset: int
    log: int
    """Its number in watermarks."""
    finding: Finding


def anchor(commit: OffsetAndMetadata | None, topic: int, begins: int, ends: int) -> Anchor:
    """Decide from where a partition is read.

    Args:
        commit: the group's, None where there is none.
        topic: number of the topic as it is now.
        begins: the log's first offset.
        ends: the offset after its last.
    """
    if commit is None or commit.offset < 0:
        return Anchor(begins, topic, Finding.NEW)
    note = note_of(commit)
    if note.topic and topic and note.topic != topic:
        return Anchor(begins, topic, Finding.RECREATED)
    log = note.log or topic
    if commit.offset > ends:
        return _lost_its_end(log, topic, begins, ends)
    if commit.offset < begins:
        return Anchor(begins, log, Finding.DELETED)
    return Anchor(commit.offset, log, Finding.GOES_ON)


def _lost_its_end(log: int, topic: int, begins: int, ends: int) -> Anchor:
    """Return the number of a log whose offsets are given out again.

    What watermarks have of these offsets is of other records, so the log gets another number.

    Without topic ids nobody can tell it from a topic created again: then nothing of the new one may
    be passed over.
    """
    following = log % (_LAST - 1) + 1
    return (
        Anchor(ends, following, Finding.CUT)
        if topic
        else Anchor(begins, following, Finding.RECREATED)
    )
