from worker.pipeline.past import LEAST, Past


def test_the_past_is_told_when_it_is_folded_and_stragglers_are_not() -> None:
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
