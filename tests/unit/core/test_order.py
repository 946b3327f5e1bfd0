"""The sorts of compiled loops, beside numpy's."""

import numpy as np
import pytest

from pprm.core.order import ascending, descending

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 1.0, -1.0]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 257, 5_000])
@pytest.mark.parametrize("values", [2, 300, 2**32])
def test_keys_are_in_order_and_equal_ones_as_they_came(size: int, values: int) -> None:
    keys = np.random.default_rng(size).integers(0, values, size)
    assert ascending(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@pytest.mark.parametrize("size", [0, 1, 2, 300, 5_000])
def test_the_highest_are_first_and_equal_ones_as_they_came(size: int) -> None:
    rng = np.random.default_rng(size)
    values = rng.normal(size=size).astype(np.float32)
    values[::3] = np.round(values[::3])
    values[1::5] = rng.choice(SPECIAL, len(values[1::5]))
    assert descending(values).tolist() == np.argsort(-values, kind="stable").tolist()
