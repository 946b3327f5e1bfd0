"""The whole job of `pprm train`: read the data, encode texts, replay, learn, judge, and write the artifact."""

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pprm import artifact, baselines, model_card, plan, product_vectors, second_training, slow_tables, training_set
from pprm.artifact import Artifact
from pprm.baselines import Baseline
from pprm.baselines.top_frequency import PersonalTopFrequency
from pprm.catalogue import Catalogue
from pprm.datasets.dataset import Dataset
from pprm.datasets.files import TableError
from pprm.datasets.source import Source, read
from pprm.evaluation import protocol, questions, report
from pprm.evaluation.contenders import AsServed, AtVisit
from pprm.evaluation.protocol import Contender
from pprm.evaluation.report import Results
from pprm.fit import fit
from pprm.model import PPRM, PPRMConfig
from pprm.plan import Plan
from pprm.popularity import Popularity
from pprm.product_vectors import Encoder
from pprm.scorer import choose_device, use_threads
from pprm.second_training import CandidateSet
from pprm.slow_tables import SlowTables
from pprm.text_encoder import TextEncoder
from pprm.training_set import TrainingSet

MODELS = {"pprm-s": PPRMConfig(), "paper": PPRMConfig.paper()}
VISITS = 40_000
"""That the first stage learns from; the second one takes all there are."""
VERSION = "2"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What is worked with: the data, their products and texts, a seed, and where progress is shown."""

    plan: Plan
    data: Dataset
    catalogue: Catalogue
    texts: TextEncoder
    seed: int
    bars: Progress

    @property
    def product_dimensions(self) -> int:
        """See `PPRMConfig.product_dimensions`."""
        made = self.catalogue.dimensions
        return 0 if made == self.texts.dimensions else made

    def replaying(self, what: str) -> Callable[[int], None]:
        """A bar for a replay; returns what is told the number of each visit passed."""
        task = self.bars.add_task(f"replaying, {what}", total=len(self.data.baskets))
        return lambda done: self.bars.update(task, completed=done)

    def learning(self, what: str) -> Callable[[int, int, float], None]:
        """A bar for learning; returns what is told step, steps and loss."""
        task = self.bars.add_task(f"learning, {what}", total=None)

        def learned(step: int, steps: int, loss: float) -> None:
            self.bars.update(task, completed=step, total=steps, description=f"learning, {what}, loss {loss:.4f}")

        return learned

    def visits(self, until: int) -> NDArray[np.int64]:
        """Numbers of the visits between the plan's beginning and a Unix time, in random order."""
        return training_set.choose_visits(self.data, self.catalogue, (self.plan.begin, until), self.seed)


@dataclass(frozen=True, slots=True)
class Job:
    """What to train."""

    source: Source
    model: str = "pprm-s"
    seed: int = 0
    encoder: Path | None = None
    """BERT directory; None: the bundled one."""
    start: Path | None = None
    """Artifact whose first stage is learned on; None: from nothing."""


def run(job: Job, out: Path, console: Console) -> None:
    """Train and write an artifact; prints what it does, its figures, and the time and memory it took.

    Raises:
        KeyError: no such dataset or model.
        pprm.datasets.files.TableError: the data cannot be read.
        pprm.artifact.ArtifactError: the artifact to start from cannot be trusted.
    """
    use_threads(1)  # one thread: the same weights on every machine, whatever its cores
    started, start, seed = perf_counter(), artifact.load(job.start) if job.start else None, job.seed
    config = start.model.config if start else MODELS[job.model]
    with progress_bars(console) as bars:
        texts = start.encoder(job.encoder) if start else TextEncoder(job.encoder, config.text_dimensions)
        shop = open_workshop(bars, job.source, texts, seed, config if start else None)
        config = replace(config, product_dimensions=shop.product_dimensions)
        chosen, made, training = _learn(shop, config, start.model if start else None)
        training["validation"] = validate(shop, chosen)
        results = judge(shop, made)
    for name in ("PPRM", "PPRM as served"):
        results[name]["train_seconds"] = training["fit_seconds"]
    results["training"] = training | {
        "dataset": shop.data.name, "seed": seed, "seconds": round(perf_counter() - started, 1),
        "peak_memory_bytes": _peak_memory(),
    }  # fmt: skip
    made = replace(made, metrics=results, text_vectors=shop.texts.vectors)
    sha256 = artifact.save(out, made, model_card.write(config, results))
    console.print(report.table({name: found for name, found in results.items() if name != "training"}))
    console.print(f"{out}  sha256 {sha256}\n{results['training']}", highlight=False)
    console.print(str(shop.data.report), highlight=False, markup=False, soft_wrap=True)


def _learn(shop: Workshop, config: PPRMConfig, start: PPRM | None) -> tuple[Artifact, Artifact, dict[str, Any]]:
    """The model to validate, which has seen nothing of the validation, the one to test and serve, and facts of both.

    They share the first stage, which never sees the validation.
    """
    examples, began = first_examples(shop), perf_counter()
    first = first_stage(shop, config, examples, start)
    made, seconds = Artifact(first.cpu(), config.name, VERSION, "", {}, {}), perf_counter() - began
    training: dict[str, Any] = {"visits": len(examples.user), "second_stage_candidates": 0}
    if not config.sequence:
        return made, made, training | {"fit_seconds": round(seconds, 1)}
    tables = learn_tables(shop)
    candidates = second_examples(shop, made, tables)

    def learned(until: int, what: str) -> Artifact:
        second = second_training.fit(candidates, until, shop.seed, shop.learning(what))
        return replace(made, second=second, tables=tables[until])

    chosen, began = learned(shop.plan.chosen, "second stage, to validate"), perf_counter()
    final = learned(shop.plan.until, "second stage")
    seconds += perf_counter() - began
    return chosen, final, training | {
        "fit_seconds": round(seconds, 1), "second_stage_candidates": len(candidates.bought),
    }  # fmt: skip


def validate(shop: Workshop, made: Artifact) -> dict[str, Any]:
    """NDCG and so on of a model on the validation's visits."""
    popularity, splits = Popularity(), {"validation": shop.plan.validation}
    scorer = made.scorer(shop.catalogue, popularity, shop.texts.encode, choose_device("auto"))
    contenders: list[Contender] = [AtVisit("PPRM", scorer)]
    told = shop.replaying("validating")
    outcome = protocol.run(shop.data, shop.catalogue, popularity, contenders, splits, told)
    return report.means(outcome.judged["validation"]["PPRM"])


def open_workshop(
    bars: Progress, source: Source, texts: TextEncoder, seed: int, known: PPRMConfig | None = None
) -> Workshop:
    """Read a dataset, and its texts, for a new model or for one that is `known`.

    Raises:
        KeyError: no such dataset.
        pprm.datasets.files.TableError: it cannot be read, or its products' vectors are not what the model reads.
    """
    task = bars.add_task(f"reading {source.dataset}", total=None)
    data = read(source, lambda done, total: bars.update(task, completed=done, total=total))
    bars.update(task, completed=1, total=1)
    dimensions = data.vector_dimensions or texts.dimensions
    if known and known.vector_dimensions != dimensions:
        raise TableError(
            f"the products have vectors of {dimensions} dimensions, the model reads {known.vector_dimensions}:"
            " name a file of these with --vectors, or train a model of this shop's"
        )
    task = bars.add_task("texts through BERT", total=None)
    products = [product.to_catalogue() for product in data.products]
    wanted = product_vectors.texts(products, dimensions, texts) + [data.profile(user) for user in data.users]
    texts.encode(wanted, lambda done, total: bars.update(task, completed=done, total=total))
    return Workshop(plan.of(data), data, make_catalogue(data, texts), texts, seed, bars)


def make_catalogue(dataset: Dataset, encoder: Encoder) -> Catalogue:
    """All products of a dataset, in its order: catalogue rows are its product indices."""
    products = [product.to_catalogue() for product in dataset.products]
    catalogue = Catalogue(dataset.vector_dimensions or encoder.dimensions)
    catalogue.put(products, product_vectors.vectors(products, catalogue.dimensions, encoder))
    return catalogue


def first_examples(shop: Workshop) -> TrainingSet:
    """What the first stage learns from."""
    until, told = shop.plan.chosen, shop.replaying("first stage")
    return training_set.build(shop.data, shop.catalogue, shop.visits(until)[:VISITS], until, shop.seed, told)


def first_stage(shop: Workshop, config: PPRMConfig, examples: TrainingSet, start: PPRM | None = None) -> PPRM:
    """Learn the first stage, or the published model; on from `start` where there is one."""
    users = shop.texts.encode([shop.data.profile(user) for user in shop.data.users])
    return fit(config, examples, shop.catalogue, users, shop.seed, shop.learning("first stage"), start)


def learn_tables(shop: Workshop) -> dict[int, SlowTables]:
    """Tables of what changes slowly, by the Unix time until which they have seen."""
    task, tables = shop.bars.add_task("hazards and factors", total=len(shop.plan.cuts)), {}
    for cut in shop.plan.cuts:
        tables[cut] = slow_tables.learn(shop.data, shop.catalogue, cut)
        shop.bars.advance(task)
    return tables


def second_examples(shop: Workshop, first: Artifact, tables: Mapping[int, SlowTables]) -> CandidateSet:
    """What the second stage learns from: all visits, those too that the first has seen."""
    scorer = first.scorer(shop.catalogue, Popularity(), shop.texts.encode, choose_device("auto"))
    until, told = shop.plan.until, shop.replaying("second stage")
    return second_training.build(shop.data, scorer, tables, shop.visits(until), until, shop.seed, told)


def progress_bars(console: Console) -> Progress:
    """Bars for long work."""
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(
    shop: Workshop, made: Artifact, more: Sequence[Contender] = (), popularity: Popularity | None = None
) -> Results:
    """Figures of a model on a dataset's test month, beside what a shop would do without one.

    `more` contenders share the replay, and its `popularity` if it is theirs.
    """
    popularity = popularity or Popularity()
    scorer = made.scorer(shop.catalogue, popularity, shop.texts.encode, choose_device("auto"))
    splits = shop.plan.splits
    queries = protocol.queries(shop.data, shop.catalogue.available, splits)
    if "test" not in queries.values():
        raise TableError(
            "there is no visit to judge: the last eighth of the time holds no purchase of an available product"
        )
    wanted = set(queries)
    known = {contender.name for contender in more}
    without: list[Baseline] = [b for b in (baselines.Popularity(7), PersonalTopFrequency()) if b.name not in known]
    for baseline in without:
        baseline.learn(shop.data, shop.catalogue, shop.plan.until)
    contenders: list[Contender] = [
        AtVisit("PPRM", scorer),
        AsServed.of("PPRM as served", scorer, shop.data, wanted),
        *([AtVisit("PPRM, first stage", scorer, stages=1)] if made.second else []),
        *without,
        *questions.of_events(scorer, shop.data),
        *more,
    ]
    told = shop.replaying("judging")
    return report.results(protocol.run(shop.data, shop.catalogue, popularity, contenders, splits, told), "PPRM", {})
