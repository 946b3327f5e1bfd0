"""The whole job of `pprm train`.

It reads the data, encodes texts, replays, learns, judges, and writes the artifact.
"""

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core import progress
from pprm.core.progress import Bars
from pprm.data import plan
from pprm.data.dataset import Dataset
from pprm.data.files import TableError
from pprm.data.plan import Plan
from pprm.data.source import Source, read
from pprm.data.visits import baskets, choose_visits
from pprm.encoders import product_vectors, text_encoder
from pprm.encoders.encoder import Encoder
from pprm.encoders.text_encoder import Identity, TextEncoder
from pprm.evaluation import protocol, questions, report, verdict
from pprm.evaluation.baselines import trivial
from pprm.evaluation.contenders import AsServed, AtVisit
from pprm.evaluation.protocol import Contender
from pprm.evaluation.report import Results
from pprm.ranking import slow_tables
from pprm.ranking.slow_tables import SlowTables
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import choose_device, use_threads
from pprm.training import cost, model_card, ranking_training, training_set
from pprm.training.cost import Counts
from pprm.training.fit import fit
from pprm.training.ranking_training import CandidateSet
from pprm.training.training_set import TrainingSet

MODELS = {"pprm-s": PPRMConfig(), "paper": PPRMConfig.paper()}
VISITS = 40_000
"""Most visits that retrieval learns from; ranking takes all there are."""
VERSION = "2"


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """The data, their products and texts, a seed, and where progress is shown.

    All steps of a training work with it.
    """

    plan: Plan
    data: Dataset
    catalogue: Catalogue
    texts: TextEncoder
    seed: int
    bars: Bars
    most: int | None = None
    """Visits to learn from; None: all."""

    @property
    def product_dimensions(self) -> int:
        """See `PPRMConfig.product_dimensions`."""
        made = self.catalogue.dimensions
        return 0 if made == self.texts.dimensions else made

    def replaying(self, what: str, until: int) -> Callable[[int], None]:
        """Show a bar for a replay until a Unix time.

        Returns a function that takes the number of each visit passed.
        """
        total = int(np.searchsorted(self.data.time[self.data.visits()[:-1]], until))
        task = self.bars.add_task(f"replaying, {what}", total=total)
        return lambda number: self.bars.update(task, completed=number + 1)

    def learning(self, what: str) -> Callable[[int, int, float], None]:
        """Show a bar for learning; returns a function of step, steps and loss."""
        task = self.bars.add_task(f"learning, {what}", total=None)

        def learned(step: int, steps: int, loss: float) -> None:
            self.bars.update(
                task, completed=step, total=steps, description=f"learning, {what}, loss {loss:.4f}"
            )

        return learned

    def validation(self) -> set[int]:
        """Numbers of the visits that choices are made on."""
        splits = {"validation": self.plan.validation}
        return set(protocol.queries(self.data, self.catalogue.available, splits))

    def visits(self, until: int) -> NDArray[np.int64]:
        """Numbers of the visits between the plan's beginning and a Unix time, in random order."""
        period = self.plan.begin, until
        return choose_visits(self.data, self.catalogue, period, self.seed)[: self.most]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train."""

    source: Source
    model: str = "pprm-s"
    seed: int = 0
    encoder: Path | None = None
    """BERT directory; None: the bundled one."""
    start: Path | None = None
    """Artifact whose retrieval is learned on; None: from nothing."""
    visits: int | None = None
    """Most visits to learn from, drawn at random; None: all."""


def run(job: TrainingJob, out: Path, console: Console) -> None:
    """Train and write an artifact.

    It prints what it does, its figures, and the time and memory it took.

    Raises:
        KeyError: no such dataset or model. pprm.data.files.TableError: the data cannot be read, or
        is too little (`plan.TooLittleData`). pprm.serving.artifact.ArtifactError: the artifact to
        start from cannot be trusted, or none can be written to `out`.
    """
    artifact.check_writable(out)  # now, not after the minutes that learning takes
    use_threads(1)  # one thread: the same weights on every machine, whatever its cores
    started, start, seed = perf_counter(), artifact.load(job.start) if job.start else None, job.seed
    read_by = start.text_encoder if start else text_encoder.identity(job.encoder)
    config = start.model.config if start else _config(job.model, read_by)
    with progress.bars(console) as bars:
        texts = (
            start.encoder(job.encoder)
            if start
            else TextEncoder(job.encoder, config.text_dimensions)
        )
        data = read_data(bars, job.source, console)
        plan.require_enough(data)
        console.print(
            cost.words(counts(data, texts, seed, job.visits), plan.of(data)), highlight=False,
            markup=False,
            soft_wrap=True,
        )  # fmt: skip
        context = replace(
            make_context(bars, data, texts, seed, config if start else None), most=job.visits
        )
        config = replace(config, product_dimensions=context.product_dimensions)
        chosen, made, training = _learn(context, config, start.model if start else None)
        training["validation"], training["verdict"] = validate(context, chosen)
        results, tested = judge(context, made)
    for name in ("PPRM", "PPRM as served"):
        results[name]["train_seconds"] = training["fit_seconds"]
    results["training"] = training | {
        "test_verdict": tested, "shop": model_card.facts(context.data),
        "dataset": context.data.name, "seed": seed, "seconds": round(perf_counter() - started, 1),
        "peak_memory_bytes": _peak_memory(),
    }  # fmt: skip
    made = replace(made, metrics=results, text_vectors=context.texts.vectors, text_encoder=read_by)
    sha256 = artifact.save(out, made, model_card.write(config, results))
    console.print(
        report.table({name: found for name, found in results.items() if name != "training"})
    )
    for found in (training["verdict"], tested):
        console.print(verdict.words(found), highlight=False, markup=False)
    console.print(f"{out}  sha256 {sha256}", highlight=False)
    console.print(summary(results["training"]), highlight=False)
    console.print(str(context.data.report), highlight=False, markup=False, soft_wrap=True)


def _config(model: str, read_by: Identity | None) -> PPRMConfig:
    """A model for texts as this encoder reads them."""
    config = MODELS[model]
    return replace(config, text_dimensions=read_by.dimensions) if read_by else config


def summary(training: Mapping[str, Any]) -> str:
    """What it took."""
    return (
        f"{training['visits']:,} visits for retrieval,"
        f" {training['second_stage_candidates']:,} candidates for"
        f" ranking; {progress.duration(training['seconds'])},"
        f" {training['peak_memory_bytes'] / 2**30:.1f} GiB"
    )


def _learn(
    context: TrainingContext, config: PPRMConfig, start: PPRM | None
) -> tuple[Artifact, Artifact, dict[str, Any]]:
    """Train the model to validate and the one to test and serve; also returns facts of both.

    The first has seen nothing of the validation. They share retrieval, which never sees it.
    """
    examples, began = retrieval_examples(context), perf_counter()
    retrieval = learn_retrieval(context, config, examples, start)
    seconds = perf_counter() - began
    made = Artifact(retrieval.cpu(), config.name, VERSION, "", {}, {})
    training: dict[str, Any] = {"visits": len(examples.user), "second_stage_candidates": 0}
    if not config.sequence:
        return made, made, training | {"fit_seconds": round(seconds, 1)}
    tables = learn_tables(context)
    candidates = ranking_examples(context, made, tables)
    # nobody came back: nothing to rank once more
    if not ranking_training.enough(candidates, context.plan.chosen):
        return made, made, training | {"fit_seconds": round(seconds, 1)}

    def learned(until: int, what: str) -> Artifact:
        network = ranking_training.fit(candidates, until, context.seed, context.learning(what))
        return replace(made, ranking_network=network, tables=tables[until])

    chosen, began = learned(context.plan.chosen, "ranking, to validate"), perf_counter()
    final = learned(context.plan.until, "ranking")
    seconds += perf_counter() - began
    return chosen, final, training | {
        "fit_seconds": round(seconds, 1), "second_stage_candidates": len(candidates.bought),
    }  # fmt: skip


def validate(context: TrainingContext, made: Artifact) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge a model on the validation's visits, and beside a shop without one."""
    popularity, splits = Popularity(), {"validation": context.plan.validation}
    scorer = made.scorer(context.catalogue, popularity, context.texts.encode, choose_device("auto"))
    without = trivial.contenders(context.data, context.catalogue, context.validation())
    contenders: list[Contender] = [AtVisit("PPRM", scorer), *without]
    on_visit = context.replaying("validating", context.plan.until)
    outcome = protocol.run(
        context.data, context.catalogue, popularity, contenders, splits, on_visit
    )
    figures = report.means(outcome.judged["validation"]["PPRM"])
    return figures, verdict.of(outcome, "validation", [one.name for one in without])


def read_data(bars: Bars, source: Source, console: Console) -> Dataset:
    """Read a dataset; says which events are left out because their dates cannot be right.

    Raises:
        KeyError: no such dataset.
        pprm.data.files.TableError: it cannot be read.
    """
    task = bars.add_task(f"reading {source.dataset}", total=None)
    data = read(source, lambda done, total: bars.update(task, completed=done, total=total))
    bars.update(task, completed=1, total=1)
    data, left_out = plan.without_outliers(data)
    if left_out:
        console.print(left_out, highlight=False, markup=False)
    return data


def make_context(
    bars: Bars, data: Dataset, texts: TextEncoder, seed: int, known: PPRMConfig | None = None
) -> TrainingContext:
    """Encode the texts of a dataset, for a new model or for one that is `known`.

    Raises:
        pprm.data.files.TableError: its products' vectors are not what the model reads, or nobody
        buys.
    """
    periods, dimensions = plan.of(data), data.vector_dimensions or texts.dimensions
    if known and known.vector_dimensions != dimensions:
        raise TableError(
            f"the products have vectors of {dimensions} dimensions, the model reads"
            f" {known.vector_dimensions}:"
            " name a file of these with --vectors, or train a model of this shop's"
        )
    task = bars.add_task("texts through BERT", total=None)
    products = [product.to_catalogue() for product in data.products]
    wanted = product_vectors.texts(products, dimensions, texts) + [
        data.profile(user) for user in data.users
    ]
    texts.encode(wanted, lambda done, total: bars.update(task, completed=done, total=total))
    return TrainingContext(periods, data, make_catalogue(data, texts), texts, seed, bars)


def make_catalogue(dataset: Dataset, encoder: Encoder) -> Catalogue:
    """All products of a dataset, in its order: catalogue rows are its product indices."""
    products = [product.to_catalogue() for product in dataset.products]
    catalogue = Catalogue(dataset.vector_dimensions or encoder.dimensions)
    catalogue.put(products, product_vectors.vectors(products, catalogue.dimensions, encoder))
    return catalogue


def counts(data: Dataset, texts: TextEncoder, seed: int, most: int | None) -> Counts:
    """What the cost of training on a dataset hangs on."""
    periods, available = plan.of(data), np.array([product.available for product in data.products])
    products = [product.to_catalogue() for product in data.products]
    wanted = product_vectors.texts(products, data.vector_dimensions or texts.dimensions, texts)
    for_retrieval, for_ranking = (
        np.random.default_rng(seed).permutation(baskets(data, available, (periods.begin, until)))[
            :most
        ]
        for until in (periods.chosen, periods.until)
    )
    return Counts(
        len(data.user), len(products), int(available.sum()),
        len(np.unique(data.product[data.purchases() & available[data.product]])), len(data.users),
        len(texts.unknown([*wanted, *(data.profile(user) for user in data.users)])),
        len(for_retrieval[:VISITS]),
        cost.returning(data, for_ranking), len(protocol.queries(data, available, periods.splits)),
    )  # fmt: skip


def retrieval_examples(context: TrainingContext) -> TrainingSet:
    """What retrieval learns from."""
    until = context.plan.chosen
    on_visit = context.replaying("retrieval", until)
    return training_set.build(
        context.data,
        context.catalogue,
        context.visits(until)[:VISITS],
        until,
        context.seed,
        on_visit,
    )


def learn_retrieval(
    context: TrainingContext, config: PPRMConfig, examples: TrainingSet, start: PPRM | None = None
) -> PPRM:
    """Learn retrieval, or the published model; on from `start` where there is one."""
    users = context.texts.encode([context.data.profile(user) for user in context.data.users])
    return fit(
        config,
        examples,
        context.catalogue,
        users,
        context.seed,
        context.learning("retrieval"),
        start,
    )


def learn_tables(context: TrainingContext) -> dict[int, SlowTables]:
    """Tables of what changes slowly, by the Unix time until which they have seen."""
    task, tables = context.bars.add_task("hazards and factors", total=len(context.plan.cuts)), {}
    for cut in context.plan.cuts:
        tables[cut] = slow_tables.learn(context.data, context.catalogue, cut)
        context.bars.advance(task)
    return tables


def ranking_examples(
    context: TrainingContext, retrieval: Artifact, tables: Mapping[int, SlowTables]
) -> CandidateSet:
    """What ranking learns from: all visits, those too that retrieval has seen."""
    device, until = choose_device("auto"), context.plan.until
    scorer = retrieval.scorer(context.catalogue, Popularity(), context.texts.encode, device)
    on_visit = context.replaying("ranking", until)
    return ranking_training.build(
        context.data, scorer, tables, context.visits(until), until, context.seed, on_visit
    )


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(
    context: TrainingContext,
    made: Artifact,
    more: Sequence[Contender] = (),
    popularity: Popularity | None = None,
) -> tuple[Results, dict[str, Any]]:
    """Judge a model on a dataset's test period, beside what a shop has without one.

    Returns the figures and the verdict. `more` contenders share the replay, and its `popularity` if
    it is theirs.
    """
    popularity = popularity or Popularity()
    scorer = made.scorer(context.catalogue, popularity, context.texts.encode, choose_device("auto"))
    splits = context.plan.splits
    queries = protocol.queries(context.data, context.catalogue.available, splits)
    if "test" not in queries.values():
        raise TableError(
            "there is no visit to judge: the test period holds no purchase of an available product"
        )
    wanted = set(queries)
    without = trivial.contenders(context.data, context.catalogue, context.validation())
    contenders: list[Contender] = [
        AtVisit("PPRM", scorer),
        AsServed.of("PPRM as served", scorer, context.data, wanted),
        *([AtVisit("PPRM, first stage", scorer, ranks=False)] if made.ranking_network else []),
        *without,
        *questions.of_events(scorer, context.data),
        *more,
    ]
    on_visit = context.replaying("judging", context.plan.test.end)
    outcome = protocol.run(
        context.data, context.catalogue, popularity, contenders, splits, on_visit
    )
    return report.results(outcome, "PPRM", {}), verdict.of(
        outcome, "test", [one.name for one in without]
    )
