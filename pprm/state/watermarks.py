"""What a state knows of the records behind it: watermarks and event fingerprints by topic.

Watermarks make a record that is delivered again count once. Each is of one log: a topic that was
deleted and created again has another number (made from its id, KIP-516), and what comes from it is
no repeat of what was in the one before. Fingerprints make an event count once that was *published*
twice. Each topic has a ring of its own, so that a burst of looks takes no purchase out of memory,
and how the topics were interleaved does not matter.
"""

import struct
from collections.abc import Iterable
from itertools import chain, repeat
from typing import TypeAlias

from msgspec import Struct

from pprm.core.events import SLOTS, WAYS, Position

WATERMARK = struct.Struct("<iIqB")
"""Partition, log (0: unknown), offset of the newest record, how many fingerprints there are."""
NO_MARK = (-1, 0, -1)
"""Of a topic of which nothing was read yet; so are those that a state does not hold."""
FINGERPRINT = struct.Struct("<I")
MAX_WATERMARKS = SLOTS * (1 + WAYS)
MAX_FINGERPRINTS = 64
"""Per topic: 99 of 100 grocery baskets have no more lines, so that an order sent twice is known."""
MAX_OFFSET = 1 << 48
MAX_BASE = 1 << 52
"""`version` is still a number in JSON."""
RECORD = 2
"""What a record adds to the version, and a list that none asked for adds one.

So a list of the latter kind that is published, and not in the state yet when its worker dies, is
below the next one that answers a record.
"""

Mark: TypeAlias = tuple[int, int, int]
"""Partition, log, offset."""

_COUNT = WATERMARK.size - 1
_RING = MAX_FINGERPRINTS * FINGERPRINT.size


_PACK = FINGERPRINT.pack
"""Looked up once: see `is_new`, which every event goes through."""


class Watermarks(Struct, gc=False):
    """A state's watermarks and fingerprints by source topic, unpacked while events are folded."""

    base: int
    marks: list[list[int]]
    rings: list[bytes]
    """Fingerprints, the newest last."""

    def advance(self, position: Position) -> bool:
        """Move the source's watermark to the record's; False where it has been there before.

        A watermark of another log or partition is replaced, and `base` takes over what it counted.
        A log that is not known on one side is taken for the same: the number stays with, or comes
        to, the watermark.
        """
        marks, offset = self.marks, position.offset
        source = position.source if position.source < SLOTS else self._way(position)
        mark = marks[source] if source < len(marks) else self._begun(source)
        if position.partition != mark[0] or position.log != mark[1]:
            return self._moved(mark, position)
        if offset <= mark[2]:
            return False
        mark[2] = offset
        return True

    def _way(self, position: Position) -> int:
        """Return the place of the watermark for a re-keyed record's partition, old or new."""
        places = range(position.source, MAX_WATERMARKS, SLOTS)
        held = {self.marks[place][0]: place for place in places if place < len(self.marks)}
        if position.partition in held:
            return held[position.partition]
        free = (place for place in places if place >= len(self.marks) or self.marks[place][0] < 0)
        return next(free, places[position.partition % WAYS])

    def _begun(self, source: int) -> list[int]:
        """Return the watermark of a topic that has had none, with the empty ones before it."""
        while len(self.marks) <= source:
            self.marks.append([*NO_MARK])
            self.rings.append(b"")
        return self.marks[source]

    def _moved(self, mark: list[int], position: Position) -> bool:
        """Do what `advance` does where partition or log differ from the watermark's."""
        partition, log, offset = mark
        if position.partition != partition or (position.log and log):
            self.base = min(self.base + RECORD * (offset + 1), MAX_BASE)
            mark[:] = position.partition, position.log, position.offset
            return True
        mark[1] = position.log or log
        mark[2] = max(position.offset, offset)
        return position.offset > offset

    def is_new(self, source: int, fingerprint: int) -> bool:
        """Note an event's fingerprint (0: it has none).

        False where it is among the last of its topic.
        """
        if not fingerprint:
            return True
        ring, mine = self.rings[source], _PACK(fingerprint)
        if mine in ring and _holds(ring, mine):
            return False
        self.rings[source] = (ring if len(ring) < _RING else ring[FINGERPRINT.size :]) + mine
        return True

    def forget(self) -> None:
        """Drop the fingerprints, which say what the shopper did."""
        self.rings = [b""] * len(self.rings)

    def pack(self) -> tuple[bytes, bytes]:
        """As a state holds them: watermarks, and all fingerprints one behind the other."""
        marks = [
            WATERMARK.pack(*mark, len(ring) // FINGERPRINT.size)
            for mark, ring in zip(self.marks, self.rings, strict=True)
        ]
        return b"".join(marks), b"".join(self.rings)


def _holds(ring: bytes, mine: bytes) -> bool:
    """Whether one of the fingerprints is this one: the bytes may also lie across two."""
    at = ring.find(mine)
    while at >= 0 and at % len(mine):
        at = ring.find(mine, at + 1)
    return at >= 0


def unpack(base: int, watermarks: bytes, fingerprints: bytes) -> Watermarks:
    """Take a state's watermarks and fingerprints apart."""
    marks, rings, start = [], [], 0
    for partition, log, offset, count in WATERMARK.iter_unpack(watermarks):
        stop = start + count * FINGERPRINT.size
        marks.append([partition, log, offset])
        rings.append(fingerprints[start:stop])
        start = stop
    return Watermarks(base, marks, rings)


def pack(marks: Iterable[Mark]) -> bytes:
    """Watermarks without fingerprints, by source."""
    return b"".join(WATERMARK.pack(*mark, 0) for mark in marks)


def fingerprints(watermarks: bytes) -> int:
    """Return how many fingerprints the watermarks say there are."""
    return sum(watermarks[_COUNT :: WATERMARK.size])


def version(base: int, watermarks: bytes) -> int:
    """Count the records below the watermarks and below those that were replaced, `RECORD` each.

    And the lists that none asked for, one each. The count never decreases.
    """
    offsets: list[int] = [offset for _, _, offset, _ in WATERMARK.iter_unpack(watermarks)]
    return base + RECORD * (sum(offsets) + len(offsets))


def follows(base: int, watermarks: bytes, held_base: int, held: bytes) -> bool:
    """Whether a state was made from the one held, or a later one, as far as its arguments tell.

    A state that is older in any topic was made by a worker that did not know the one held. Offsets
    of different logs or partitions cannot be compared: of two such watermarks the one that replaced
    the other has the larger base.
    """
    mine, theirs = WATERMARK.iter_unpack(watermarks), WATERMARK.iter_unpack(held)
    pairs = zip(chain(mine, repeat((*NO_MARK, 0))), theirs, strict=False)
    return base >= held_base and all(_offset_follows(*pair) for pair in pairs)


def _offset_follows(mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    (partition, log, offset, _), (held_partition, held_log, held_offset, _) = mine, theirs
    if partition < 0 <= held_partition:  # a watermark never goes
        return False
    is_same = partition == held_partition and (log == held_log or not log or not held_log)
    return not is_same or offset >= held_offset
