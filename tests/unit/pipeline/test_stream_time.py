"""The time of a partition follows what shoppers did in it."""

from pprm.core.events import Event, Interaction, Kind, Position, Profile, Request
from worker.kafka.batches import Record
from worker.pipeline.codec import Decoded, Trigger
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Work

START = 1_500_000_000


def batch(*times: int, partition: int = 0, first: int = 0) -> Work:
    work = Work()
    events: list[Event] = [
        Interaction(Position(0, partition, first + i), Kind.PURCHASE, 7, START + at)
        for i, at in enumerate(times)
    ]
    work.receive(partition, [(_record(event), Decoded(event, "ann", "e")) for event in events])
    return work


def _record(event: Event) -> Record:
    where = "purchases", event.position.partition, event.position.offset
    return Record(*where, 0, 0, b"ann", b"", ())


def test_the_newest_record_moves_the_time_and_triggers_what_is_due_by_it() -> None:
    time = StreamTime()
    assert time.now(0) is None and time.mover(0) is None
    time.move(batch(10, 50, 20))
    assert time.now(0) == START + 50
    assert time.mover(0) == Trigger("refresh", "purchases", 0, 1, "e")
    time.move(batch(30, first=9))
    assert time.now(0) == START + 50, "a late event does not move it back"
    time.move(batch(60, partition=1))
    assert (time.now(0), time.now(1)) == (START + 50, START + 60)
    time.forget([0])
    assert time.now(0) is None and time.now(1) == START + 60


def test_a_request_moves_the_time_and_a_profile_does_not() -> None:
    time, work = StreamTime(), Work()
    events: list[Event] = [
        Request(Position(4, 0, 5), START), Profile(Position(3, 0, 6), START + 999, "somebody")
    ]  # fmt: skip
    work.receive(0, [(_record(event), Decoded(event, "ann", "e")) for event in events])
    time.move(work)
    assert time.now(0) == START


def test_by_the_wall_a_silent_partition_goes_on() -> None:
    wall = [START + 5.5]
    time = StreamTime(lambda: wall[0])
    assert time.now(0) == START + 5 and time.mover(0) is None
    time.move(batch(50))
    assert time.now(0) == START + 50
    wall[0] = START + 100.0
    assert time.now(0) == START + 100 and time.mover(0)
