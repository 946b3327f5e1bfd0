import torch
from hypothesis import given
from hypothesis import strategies as st

from pprm.ranking import top_k


@given(st.lists(st.lists(st.integers(0, 4), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(0, 12))
def test_the_best_in_order_and_equal_ones_by_column(rows: list[list[int]], k: int) -> None:
    best = top_k(torch.tensor(rows, dtype=torch.float32), k)
    for values, (columns, scores) in zip(rows, best, strict=True):
        wanted = sorted(range(12), key=lambda column: (-values[column], column))[:k]
        assert columns.tolist() == wanted and scores.tolist() == [values[column] for column in wanted]
