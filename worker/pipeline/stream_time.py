"""The time of each partition: that of the newest thing that a shopper did in it.

What is due by it is due at the same place in every replay. A partition that was taken over has no
time until its first record comes.
"""

from collections.abc import Callable, Iterable
from time import time

from worker.pipeline.codec import Trigger
from worker.pipeline.work import Work


class StreamTime:
    """Follows the records that are processed."""

    def __init__(self, wall: Callable[[], float] | None = None) -> None:
        """`wall`: a clock by which a partition goes on where no record moves it, if any."""
        self._wall = wall
        self._moved: dict[int, tuple[int, Trigger]] = {}

    def move(self, work: Work) -> None:
        """Move on by the records of a micro-batch."""
        for partition, (record, decoded) in work.newest.items():
            if decoded.event.time > self._moved.get(partition, (0, None))[0]:
                self._moved[partition] = (
                    decoded.event.time,
                    Trigger(
                        "refresh", record.topic, record.partition, record.offset, decoded.event_id
                    ),
                )

    def now(self, partition: int) -> int | None:
        """Unix seconds, None where there is no time yet."""
        moved = self._moved[partition][0] if partition in self._moved else None
        return max(moved or 0, int(self._wall())) if self._wall else moved

    def mover(self, partition: int) -> Trigger | None:
        """The record that the time is of, as what triggers a refresh."""
        return self._moved[partition][1] if partition in self._moved else None

    def forget(self, partitions: Iterable[int]) -> None:
        """Partitions that are gone: they may have gone on elsewhere when they come back."""
        for partition in partitions:
            self._moved.pop(partition, None)


def of(clock: str) -> StreamTime:
    """By the setting `recommendations.refresh_clock`."""
    return StreamTime(time if clock == "wall" else None)
