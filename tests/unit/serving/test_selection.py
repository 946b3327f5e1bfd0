import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.serving import rules
from pprm.serving.selection import pick

SCORES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, -np.inf]), min_size=1, max_size=14)


@given(SCORES, st.integers(0, 14), st.integers(1, 4) | st.none(), st.integers(1, 5))
def test_the_best_in_order_equal_ones_by_index_and_so_many_of_a_type(
    values: list[float], k: int, most: int | None, types: int
) -> None:
    type_of = np.arange(len(values), dtype=np.int32) % types
    rows, codes = np.arange(len(values)), np.stack([type_of, 0 * type_of, 0 * type_of], 1)
    picks = rules.of(most_of_a_type=most).picks
    picked = pick(np.array(values, np.float32), rows, codes, k, picks)
    wanted: list[int] = []
    for index in sorted(range(len(values)), key=lambda i: (-values[i], i)):
        same = sum(type_of[other] == type_of[index] for other in wanted)
        if values[index] > -np.inf and len(wanted) < k and (most is None or same < most):
            wanted.append(index)
    assert picked.tolist() == wanted


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_costs_its_product_the_place_and_no_other(bad: float) -> None:
    scores = np.array([1, bad, 3, bad, 2], np.float32)
    rows, codes = np.arange(5), np.zeros((5, 3), np.int32)
    assert pick(scores, rows, codes, 4, ()).tolist() == [2, 4, 0]
