import numpy as np
import pytest

from pprm.baselines import TopFrequency, Windows

DAY = 86_400
START = 17_000 * DAY


def test_windows_count_the_days_strictly_before() -> None:
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 60, 500))
    products, times = rng.integers(0, 8, 500).astype(np.int32), (START + days * DAY + rng.integers(0, DAY, 500))
    times.sort()
    windows = Windows(products, times, 8)
    for today, length in ((0, 7), (1, 7), (30, 7), (45, 28), (61, 7), (200, 7)):
        inside = (times // DAY < START // DAY + today) & (times // DAY >= START // DAY + today - length)
        wanted = np.bincount(products[inside], minlength=8)
        if today <= 60:
            assert windows.before(START + today * DAY + 5, length).tolist() == wanted.tolist()


def test_top_frequency_decays_and_fills_up_with_popularity() -> None:
    frequency = TopFrequency()
    frequency.add(1, np.array([0, 1]), START)
    frequency.add(1, np.array([1]), START + 60 * DAY)
    scores = frequency.scores(1, START + 60 * DAY, np.array([9, 0, 5, 7], np.float32))
    assert scores[:2] == pytest.approx([0.5, 1.5], abs=1e-5)
    assert np.argsort(-scores).tolist() == [1, 0, 3, 2]
    assert np.argsort(-frequency.scores(2, START, np.array([9, 0, 5, 7], np.float32))).tolist() == [0, 3, 2, 1]
