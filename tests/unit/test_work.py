from types import SimpleNamespace

from pprm.events import Interaction, Kind, Position
from worker.codec import Decoded, Invalid
from worker.work import Work


def test_records_are_sorted_by_shopper_and_the_last_is_the_last() -> None:
    work = Work()
    records = [SimpleNamespace(key=key, offset=i) for i, key in enumerate((b"a", b"b", b"a", b"c", b"a"))]
    said = [
        Invalid("json", "no JSON")
        if record.key == b"c"
        else Decoded(Interaction(Position(0, 3, i), Kind.PURCHASE, i, 100 - i), record.key.decode(), f"e{i}")
        for i, record in enumerate(records)
    ]
    work.receive(3, records[:3], said[:3])
    work.receive(3, records[3:], said[3:])
    a, b = work.shoppers
    assert (a.key, b.key, a.partition) == (b"a", b"b", 3)
    assert [event.position.offset for event in a.events] == [0, 2, 4] and a.newest == 100
    assert a.last == (records[4], said[4]) and b.last == (records[1], said[1])
    assert work.refused == [(records[3], said[3])]
