import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, ndcg_score, precision_score, recall_score

from pprm.evaluation import list_metrics
from pprm.serving import selection

SCORES = st.lists(st.integers(0, 6), min_size=12, max_size=40)


@given(st.permutations(range(30)), st.sets(st.integers(0, 29), min_size=1, max_size=20))
def test_ndcg_is_scikit_learns(order: list[int], truth: set[int]) -> None:
    scores = np.empty(30)
    scores[order] = np.arange(30, 0, -1)
    relevant = np.array([[float(i in truth) for i in range(30)]])
    assert list_metrics.ndcg(np.array(order), truth) == pytest.approx(
        ndcg_score(relevant, scores[None], k=10)
    )


@given(SCORES, st.sets(st.integers(0, 11), min_size=1))
def test_top_recall_and_hit_by_brute_force(values: list[int], truth: set[int]) -> None:
    scores = np.array(values, float)
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))[:10]
    assert selection.top(scores).tolist() == best
    hits = [i for i in best if i in truth]
    assert list_metrics.recall(np.array(best), truth) == len(hits) / len(truth)
    assert list_metrics.hit(np.array(best), truth) == float(bool(hits))


def test_excluded_columns_never_come_out() -> None:
    excluded = np.array([True] * 5 + [False] * 20)
    assert min(selection.top(np.arange(25, 0, -1.0), excluded)) == 5


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40))
def test_the_best_threshold_and_its_decision(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(s) for s, _ in pairs]), np.array([label for _, label in pairs])
    threshold = list_metrics.best_threshold(scores, labels)
    said = scores >= threshold
    assert (said == labels).mean() == max(
        ((scores >= t) == labels).mean() for t in [*scores, np.inf]
    )
    decision = list_metrics.decision(scores, labels, threshold)
    assert decision["accuracy"] == pytest.approx(accuracy_score(labels, said))
    assert decision["precision"] == pytest.approx(precision_score(labels, said, zero_division=0))
    assert decision["recall"] == pytest.approx(recall_score(labels, said, zero_division=0))
