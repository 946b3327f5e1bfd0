from datetime import UTC, datetime

from worker.pipeline.past import LEAST, Past


def test_the_past_ends_where_events_are_answered_and_without_it_all_are() -> None:
    past = Past(datetime.fromtimestamp(1_500_000_000, UTC))
    assert [past.is_live(time) for time in (1_499_999_999, 1_500_000_000)] == [False, True]
    assert Past().is_live(0)


def test_the_past_is_logged_when_it_is_folded_and_stragglers_are_not() -> None:
    past = Past()
    assert past.end(5.0) is None, "there is none"
    past.fold(0, 0, 6.0)
    past.fold(4000, 300, 7.0)
    past.fold(1, 0, 9.0)
    assert past.end(12.5) == {"events": 4001, "seconds": 5.5, "new_states": 300}
    past.fold(1, 1, 20.0)
    assert past.end(21.0) is None
    past.fold(LEAST, 0, 30.0)
    assert past.end(31.0) == {"events": LEAST + 1, "seconds": 11.0, "new_states": 1}
