"""The job of `pprm evaluate`.

It judges an artifact, its variants and all baselines on the same visits, in one table.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core import progress
from pprm.core.ids import stable_hash
from pprm.data import plan
from pprm.data.dataset import Dataset
from pprm.data.source import Source
from pprm.encoders import ENCODERS, text_encoder
from pprm.encoders.encoder import Encode
from pprm.evaluation import questions, report, verdict
from pprm.evaluation.protocol import Contender
from pprm.evaluation.report import Results
from pprm.experiments import learned, variants
from pprm.experiments.variants import VariantSetup
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import Scorer, choose_device, use_threads
from pprm.training.train import (
    TrainingContext,
    judge,
    learn_tables,
    make_context,
    ranking_examples,
    read_data,
    retrieval_examples,
)

MODELS = ("baselines", "first-stage", "second-stage", "young", "frozen", "unseen")
"""Kinds of contenders that can be added to the model itself."""
SEED = 0


def run(
    directory: Path, source: Source, encoder: Path | None, models: Sequence[str], console: Console
) -> Results:
    """Judge an artifact on a dataset's test period.

    Prints what is judged on what, the table, and a verdict.

    Raises:
        pprm.serving.artifact.ArtifactError: it cannot be trusted.
        KeyError: no such dataset.
        pprm.data.files.TableError: it cannot be read.
    """
    use_threads(1)
    loaded = artifact.load(directory)
    with progress.bars(console) as bars:
        data = read_data(bars, source, console)
        plan.of(data)  # whether there is anything to judge is known before BERT reads the texts
        console.print(
            what_is_judged(directory, loaded, source, data),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        context = make_context(bars, data, loaded.encoder(encoder), SEED, loaded.model.config)
        popularity, task = Popularity(), bars.add_task("others learn", total=None)
        scorer = loaded.scorer(
            context.catalogue, popularity, context.texts.encode, choose_device("auto")
        )
        more: list[Contender] = []
        seconds: dict[str, float] = {}
        makers: dict[str, Callable[[], tuple[Sequence[Contender], dict[str, float]]]] = {
            "baselines": lambda: _baselines(context, on_start),
            "first-stage": lambda: _retrieval_variants(context, loaded, popularity, on_start),
            "second-stage": lambda: _ranking_variants(context, loaded, popularity, on_start),
            "young": lambda: (questions.young_shoppers(scorer), {}),
            "frozen": lambda: (questions.frozen(scorer, context.plan), {}),
        }

        def on_start(name: str) -> None:
            bars.update(task, description=f"learning: {name}")

        for kind in (kind for kind in models if kind in makers):
            contenders, took = makers[kind]()
            more += contenders
            seconds |= took
        results, found = judge(context, loaded, more, popularity)
        unseen = _unseen(context, loaded) if "unseen" in models else {}
    for name, spent in seconds.items():
        results[name]["train_seconds"] = round(spent, 1)
    console.print(report.table(results))
    console.print(verdict.words(found), highlight=False, markup=False)
    if unseen:
        console.print(
            "Products that nobody bought before the months judged, ranked among themselves:"
        )
        console.print(report.table(unseen))
    console.print(str(context.data.report), highlight=False, markup=False, soft_wrap=True)
    return results | {f"unseen products: {name}": figures for name, figures in unseen.items()}


def what_is_judged(directory: Path, loaded: Artifact, source: Source, data: Dataset) -> str:
    """Artifact and data by name; says so where the artifact is of another shop."""
    files = f" ({', '.join(path.name for path in source.files)})" if source.files else ""
    learned = loaded.metrics.get("training", {}).get("dataset", "unknown data")
    text = (
        f"Artifact {directory} ({loaded.name} {loaded.version},"
        f" trained on {learned}), judged on {data.name}{files}."
    )
    if loaded.tables is None:
        return text
    here = catalogue_hashes(data)
    known = int(np.isin(here, loaded.tables.products).sum())
    if known < len(here) / 2:
        text += (
            "\n"
            f"It knows {known:,} of the {len(here):,} products: it learned"
            " from ANOTHER SHOP, and these figures are zero-shot. Name the"
            " artifact of this shop's own, or make one with `pprm train`."
        )
    return text


def catalogue_hashes(data: Dataset) -> NDArray[np.uint64]:
    """Hashes of the products that may be recommended."""
    return np.array(
        [stable_hash(product.product_id) for product in data.products if product.available],
        np.uint64,
    )


def _baselines(
    context: TrainingContext, on_start: Callable[[str], None]
) -> tuple[list[Contender], dict[str, float]]:
    made: list[Contender] = []
    seconds: dict[str, float] = {}
    for make in learned.ALL:
        baseline, started = make(), perf_counter()
        on_start(baseline.name)
        baseline.learn(context.data, context.catalogue, context.plan.until)
        seconds[baseline.name] = perf_counter() - started
        made.append(baseline)
    return made, seconds


def _retrieval_variants(
    context: TrainingContext,
    loaded: Artifact,
    popularity: Popularity,
    on_start: Callable[[str], None],
) -> tuple[list[Contender], dict[str, float]]:
    texts = [product.to_catalogue().text for product in context.data.products]
    profiles = [context.data.profile(user) for user in context.data.users]
    setup = VariantSetup(
        loaded.model.config,
        retrieval_examples(context),
        context.catalogue,
        popularity,
        profiles,
        texts,
        context.texts.encode,
        SEED,
    )
    return variants.of_retrieval(setup, other_encoders([*texts, *profiles]), on_start)


def other_encoders(texts: Sequence[str]) -> dict[str, Encode]:
    """Return all encoders but BERT, which is the artifact's own, by name; made for these texts."""
    return {
        name: kind.learn(texts, SEED).encode
        for name, kind in ENCODERS.items()
        if name != text_encoder.NAME
    }


def _ranking_variants(
    context: TrainingContext,
    loaded: Artifact,
    popularity: Popularity,
    on_start: Callable[[str], None],
) -> tuple[list[Contender], dict[str, float]]:
    on_start("ranking's examples")
    examples = ranking_examples(context, loaded, learn_tables(context))
    scorer = loaded.scorer(
        context.catalogue, popularity, context.texts.encode, choose_device("auto")
    )
    return variants.of_ranking(scorer, examples, context.plan.until, SEED, on_start)


def _unseen(context: TrainingContext, loaded: Artifact) -> Results:
    def make(catalogue: Catalogue, popularity: Popularity) -> Scorer:
        return loaded.scorer(catalogue, popularity, context.texts.encode, choose_device("auto"))

    outcome = questions.unseen(
        context.data,
        context.catalogue,
        context.plan,
        make,
        context.replaying("products that nobody bought before", context.plan.test.end),
    )
    return report.results(outcome, "PPRM", {}) if outcome.visits["test"].user else {}
