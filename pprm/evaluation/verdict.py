"""Whether a model is worth anything, in words.

It is compared with what a shop has without one (`baselines.trivial`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pprm.evaluation import report
from pprm.evaluation.protocol import Outcome

MODEL = "PPRM"
CLEAR = 2.0
"""Standard errors from which on a difference is no accident."""
FEWEST = 30
"""Fewest visits from which a standard error is meaningful."""
TOO_GOOD = 0.99
"""NDCG@10 that nobody without a model reaches, unless the answer is in the input."""


def of(outcome: Outcome, split: str, trivial: Sequence[str]) -> dict[str, Any]:
    """Compare the model with the best of the `trivial` contenders in a split, for metrics.json."""
    judged, visits = outcome.judged[split], outcome.visits[split]
    figures = {name: report.means(judged[name])["all"]["ndcg_at_10"] for name in (MODEL, *trivial)}
    best = max(trivial, key=lambda name: figures[name] or 0.0)
    difference = report.difference(judged[MODEL], judged[best], np.array(visits.user, np.int64))
    return {
        "split": split,
        "visits": len(visits.user),
        "ndcg_at_10": figures,
        "best": best,
        "difference": difference,
    }


def words(verdict: dict[str, Any]) -> str:
    """The verdict as sentences."""
    if not verdict["visits"]:
        return (
            f"No visit of the {verdict['split']} could be judged:"
            " nobody knows yet what this model is worth."
        )
    mean, error = verdict["difference"]["mean"], verdict["difference"]["se"]
    model, other = (report.short(verdict["ndcg_at_10"][name]) for name in (MODEL, verdict["best"]))
    figures = (
        f"NDCG@10 {model} on {verdict['visits']:,} visit{'s' * (verdict['visits'] != 1)} of the"
        f" {verdict['split']}; the best without a model, {verdict['best']!r},"
        f" has {other} (difference {mean:+.4f}, standard error {error:.4f})."
    )
    few = verdict["visits"] < FEWEST
    return f"{_judged(mean, error, few, figures)}{'' if few else _leak(verdict)}"


def _judged(mean: float, error: float, few: bool, figures: str) -> str:
    if few:
        return f"Too few visits to tell what this model is worth ({FEWEST} are needed): {figures}"
    if mean <= 0:
        return (
            "THIS MODEL DOES NOT BEAT A SHOP WITHOUT ONE:"
            f" {figures} What helps: docs/small-shops.md."
        )
    if mean < CLEAR * error:
        return (
            "This model is not clearly better than a shop"
            f" without one: {figures} More visits would tell."
        )
    return f"This model is worth something: {figures}"


def _leak(verdict: dict[str, Any]) -> str:
    best = verdict["ndcg_at_10"][verdict["best"]]
    if best < TOO_GOOD:
        return ""
    return (
        f" THE ANSWER IS IN THE INPUT: {verdict['best']!r} cannot be right so often by itself."
        " docs/small-shops.md says which events give it away."
    )
