"""From what was judged to figures, a table for people, and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from pprm.evaluation import list_metrics
from pprm.evaluation.protocol import Judged, Outcome, Visits

Results: TypeAlias = dict[str, dict[str, Any]]
MEASURES = ("ndcg_at_10", "recall_at_10", "hr_at_10")
HISTORY = (0, 5, 20, 60, 150)
"""Baskets before the visit, from which a group of shoppers begins."""
WEEK = 7 * 86_400


def results(outcome: Outcome, reference: str, train_seconds: Mapping[str, float]) -> Results:
    """Figures of the test split by contender, with the threshold of the validation split.

    Args:
        outcome: what was judged.
        reference: the contender that the paired differences are to.
        train_seconds: seconds of learning, by contender.
    """
    test = outcome.judged["test"]
    return {
        name: _figures(outcome, name, test[reference])
        | {"train_seconds": round(train_seconds.get(name, 0.0), 1)}
        for name in test
    }


def _figures(outcome: Outcome, name: str, reference: Judged) -> dict[str, Any]:
    test, validation, visits = (
        outcome.judged["test"][name],
        outcome.judged["validation"][name],
        outcome.visits["test"],
    )
    user = np.array(visits.user)
    return {
        "queries": {"all": len(test.all), "new": int(np.isfinite(np.array(test.new)[:, 0]).sum())},
        **means(test),
        "binary": _decisions(test, validation),
        "difference": {part: difference(test, reference, user, part) for part in ("all", "new")},
        "lists": _lists(test, len(outcome.candidates)),
        "by_history": _by(
            np.searchsorted(HISTORY, visits.baskets, side="right") - 1, test, HISTORY
        ),
        "by_week": _by_week(visits, test),
        "milliseconds": round(1000 * test.seconds / max(len(test.all), 1), 2),
        "megabytes": round(test.learned_bytes / 1e6, 2),
    }


def _decisions(test: Judged, validation: Judged) -> dict[str, float | None]:
    """Accuracy, precision and recall; None where no visit of the validation says where to cut."""
    if not validation.labels:
        return dict.fromkeys(("accuracy", "precision", "recall"))
    threshold = list_metrics.best_threshold(
        np.array(validation.scores), np.array(validation.labels, bool)
    )
    return {**list_metrics.decision(np.array(test.scores), np.array(test.labels, bool), threshold)}


def difference(
    one: Judged, other: Judged, user: NDArray[np.int64], part: str = "all"
) -> dict[str, float | None]:
    """Of the NDCG of two contenders on the same visits; see `paired`."""
    ndcg = [np.array(getattr(judged, part)).reshape(-1, 3)[:, 0] for judged in (one, other)]
    return paired(ndcg[0] - ndcg[1], user)


def paired(difference: NDArray[np.float64], user: NDArray[np.int64]) -> dict[str, float | None]:
    """Mean of paired differences [Q], without NaN, and its standard error clustered by user [Q].

    None if there are none.
    """
    known = np.isfinite(difference)
    difference, user = difference[known], user[known]
    if not len(difference):
        return {"mean": None, "se": None}
    mean = float(difference.mean())
    sums = np.bincount(user, difference - mean)
    return {"mean": mean, "se": float(np.sqrt((sums**2).sum()) / len(difference))}


def means(judged: Judged) -> dict[str, dict[str, float | None]]:
    """NDCG, recall and hit rate, over all products and over new ones.

    None where no visit was judged.
    """
    return {"all": _means(judged.all), "new": _means(judged.new)}


def _means(values: Sequence[tuple[float, float, float]]) -> dict[str, float | None]:
    known = np.array(values).reshape(-1, 3)
    known = known[np.isfinite(known[:, 0])]
    return dict(zip(MEASURES, known.mean(0).tolist() if len(known) else (None,) * 3, strict=True))


def _lists(test: Judged, candidates: int) -> dict[str, float]:
    """Describe the lists.

    How much of the catalogue they use, how much of them is repeats or the most listed.
    """
    counts = (
        np.bincount(np.concatenate(test.lists), minlength=candidates)
        if test.lists
        else np.zeros(candidates)
    )
    top = np.sort(counts)[::-1]
    return {
        "coverage": float((counts > 0).mean()),
        "repeat_share": float(np.mean(test.repeats)) if test.repeats else 0.0,
        "share_of_100_most_listed": float(top[:100].sum() / max(counts.sum(), 1)),
    }


def _by(
    group: NDArray[np.int64], test: Judged, names: Sequence[int]
) -> dict[str, dict[str, float]]:
    ndcg = np.array(test.all)[:, 0]
    return {
        f"from {names[i]}": {
            "queries": int((group == i).sum()),
            "ndcg_at_10": float(ndcg[group == i].mean()),
        }
        for i in sorted(set(group.tolist()))
    }


def _by_week(visits: Visits, test: Judged) -> dict[str, dict[str, float]]:
    week = (np.array(visits.time) - min(visits.time)) // WEEK
    return _by(week, test, [i + 1 for i in range(int(week.max()) + 1)])


def table(found: Results) -> Table:
    """The figures as a table for people."""
    queries = next(iter(found.values()))["queries"]
    title = (
        f"test, {queries['all']:,} visits, {queries['new']:,}"
        " with new products; all figures: --report, --table"
    )
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("model", min_width=20, max_width=42)
    for column in (
        "NDCG@10",
        "difference (se)",
        "R@10",
        "HR@10",
        "new NDCG",
        "difference (se)",
        "new R",
        "new HR",
    ):
        shown.add_column(column, justify="right", no_wrap=True)
    for column in ("acc", "prec", "rec", "ms", "MB"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, figures in found.items():
        ranked = [value for part in ("all", "new") for value in _ranked(figures, part)]
        decided = [short(value)[:3].replace("non", "-") for value in figures["binary"].values()]
        shown.add_row(
            name, *ranked, *decided, f"{figures['milliseconds']:.1f}", f"{figures['megabytes']:.1f}"
        )
    return shown


def _ranked(figures: Mapping[str, Any], part: str) -> tuple[str, ...]:
    ndcg, recall, hits = (short(figures[part][measure]) for measure in MEASURES)
    return ndcg, _signed(figures["difference"][part]), recall, hits


def short(share: float | None) -> str:
    """A share of 1 in four digits; of nothing it is "none", which 0 is not."""
    return "none" if share is None else f"{share:.4f}".removeprefix("0")


def _signed(difference: Mapping[str, float | None]) -> str:
    mean, error = difference["mean"], difference["se"]
    return "none" if mean is None or error is None else f"{mean:+.4f} ({error:.4f})"


def markdown(found: Results) -> str:
    """The figures as a table for a document."""
    head = (
        "| model | NDCG@10 | R@10 | HR@10 | new NDCG@10 | new R@10 | new HR@10 | acc | prec | rec "
        "| difference (se) | new (se) | ms | MB | train s |"
    )
    lines = [head, "|" + "---|" * 15]
    for name, figures in found.items():
        shares = [share for part in ("all", "new", "binary") for share in figures[part].values()]
        values = ["none" if share is None else f"{share:.4f}" for share in shares]
        values += [_signed(difference) for difference in figures["difference"].values()]
        values += [
            f"{figures['milliseconds']:.1f}",
            f"{figures['megabytes']:.2f}",
            f"{figures['train_seconds']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def plot(found: Results, path: Path) -> None:
    """Draw NDCG@10 of all products and of new ones, with the standard error of the difference."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(found)[::-1]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.32 * len(names) + 1.2), sharey=True)
    for axis, part, title in zip(
        axes, ("all", "new"), ("all products", "new to the shopper"), strict=True
    ):
        values = [found[name][part]["ndcg_at_10"] or 0.0 for name in names]
        errors = [found[name]["difference"][part]["se"] or 0.0 for name in names]
        axis.barh(
            names,
            values,
            xerr=errors,
            color=["#2b6cb0" if "PPRM" in name else "#a0aec0" for name in names],
        )
        axis.set_title(f"NDCG@10, {title}")
        axis.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
