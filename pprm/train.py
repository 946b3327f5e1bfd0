"""The whole job of `pprm train`: read the data, encode texts, replay, learn, judge, and write the artifact."""

import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pprm import artifact, baselines, model_card, second_training, slow_tables, training_set
from pprm.artifact import Artifact
from pprm.baselines import Baseline
from pprm.baselines.top_frequency import PersonalTopFrequency
from pprm.catalogue import Catalogue
from pprm.datasets import complete_journey
from pprm.datasets.dataset import Dataset
from pprm.evaluation import protocol, report
from pprm.evaluation.contenders import AsServed, AtVisit
from pprm.evaluation.protocol import Contender
from pprm.evaluation.report import Results
from pprm.fit import fit
from pprm.model import PPRMConfig
from pprm.popularity import Popularity
from pprm.scorer import choose_device
from pprm.text_encoder import TextEncoder

DATASETS = {complete_journey.NAME: complete_journey.load}
MODELS = {"pprm-s": PPRMConfig(), "paper": PPRMConfig.paper()}
PERIOD = (datetime(2017, 7, 1, tzinfo=UTC), datetime(2017, 11, 1, tzinfo=UTC))
"""Visits that are learned from; half a year of history is before them."""
CUTS = tuple(datetime(2017, month, 1, tzinfo=UTC) for month in (7, 8, 9, 10, 11))
"""Tables of what changes slowly are learned anew at these, so that no visit is trained with tables of its future."""
VISITS = 40_000
"""The first stage learns from these; the second one from the others, which the first has not seen."""
VERSION = "2"


def run(dataset: str, out: Path, model: str, seed: int, encoder: Path | None, console: Console) -> None:
    """Train and write an artifact; prints what it does, its figures, and the time and memory it took.

    Raises:
        KeyError: no such dataset or model.
    """
    torch.set_num_threads(1)  # one thread: the same weights on every machine, whatever its cores
    started, config = perf_counter(), MODELS[model]
    with _progress(console) as bars:
        data, texts = _read(bars, dataset, encoder, config)
        catalogue = make_catalogue(data, texts)
        period = (int(PERIOD[0].timestamp()), int(PERIOD[1].timestamp()))
        visits = training_set.choose_visits(data, catalogue, period, seed)
        made, seconds = _first_stage(bars, config, data, catalogue, texts, visits[:VISITS], seed)
        if config.sequence:
            made = _second_stage(bars, made, data, catalogue, texts, visits[VISITS:], seed)
        results = judge(bars, made, data, catalogue, texts)
    for name in ("PPRM", "PPRM as served"):
        results[name]["train_seconds"] = round(seconds, 1)
    results["training"] = {
        "dataset": dataset, "seed": seed, "visits": min(VISITS, len(visits)),
        "second_stage_visits": max(len(visits) - VISITS, 0), "fit_seconds": round(seconds, 1),
        "seconds": round(perf_counter() - started, 1), "peak_memory_bytes": _peak_memory(),
    }  # fmt: skip
    made = replace(made, metrics=results, text_vectors=texts.vectors)
    sha256 = artifact.save(out, made, model_card.write(config, results))
    console.print(report.table({name: found for name, found in results.items() if name != "training"}))
    console.print(f"{out}  sha256 {sha256}\n{results['training']}", highlight=False)


def make_catalogue(dataset: Dataset, encoder: TextEncoder) -> Catalogue:
    """All products of a dataset, in its order: catalogue rows are its product indices."""
    products = [product.to_catalogue() for product in dataset.products]
    catalogue = Catalogue(encoder.dimensions)
    catalogue.put(products, encoder.encode([product.text for product in products]))
    return catalogue


def _read(bars: Progress, dataset: str, directory: Path | None, config: PPRMConfig) -> tuple[Dataset, TextEncoder]:
    task = bars.add_task(f"reading {dataset}", total=1)
    data = DATASETS[dataset]()
    bars.update(task, completed=1)
    encoder = TextEncoder(directory, config.text_dimensions)
    task = bars.add_task("texts through BERT", total=None)
    texts = [product.to_catalogue().text for product in data.products] + [data.profile(user) for user in data.users]
    encoder.encode(texts, lambda done, total: bars.update(task, completed=done, total=total))
    return data, encoder


def _first_stage(
    bars: Progress,
    config: PPRMConfig,
    data: Dataset,
    catalogue: Catalogue,
    texts: TextEncoder,
    visits: NDArray[np.int64],
    seed: int,
) -> tuple[Artifact, float]:
    task, until = bars.add_task("replaying, first stage", total=len(data.baskets)), int(PERIOD[1].timestamp())
    examples = training_set.build(data, catalogue, visits, until, seed, lambda done: bars.update(task, completed=done))
    started = perf_counter()
    users = texts.encode([data.profile(user) for user in data.users])
    model = fit(config, examples, catalogue, users, seed, _learning(bars))
    return Artifact(model.cpu(), config.name, VERSION, "", {}, {}), perf_counter() - started


def _second_stage(
    bars: Progress,
    made: Artifact,
    data: Dataset,
    catalogue: Catalogue,
    texts: TextEncoder,
    visits: NDArray[np.int64],
    seed: int,
) -> Artifact:
    task = bars.add_task("hazards and factors", total=len(CUTS))
    tables = {}
    for cut in CUTS:
        tables[int(cut.timestamp())] = slow_tables.learn(data, catalogue, int(cut.timestamp()))
        bars.advance(task)
    task, until = bars.add_task("replaying, second stage", total=len(data.baskets)), int(PERIOD[1].timestamp())
    scorer = made.scorer(catalogue, Popularity(), texts.encode, choose_device("auto"))
    examples = second_training.build(
        data, scorer, tables, visits, until, seed, lambda done: bars.update(task, completed=done)
    )
    second = second_training.fit(examples, seed, _learning(bars))
    return replace(made, second=second, tables=tables[until])


def _learning(bars: Progress) -> Callable[[int, int, float], None]:
    task = bars.add_task("learning", total=None)

    def learned(step: int, steps: int, loss: float) -> None:
        bars.update(task, completed=step, total=steps, description=f"learning, loss {loss:.4f}")

    return learned


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(bars: Progress, made: Artifact, data: Dataset, catalogue: Catalogue, texts: TextEncoder) -> Results:
    """Figures of a model on a dataset's test month, beside what a shop would do without one."""
    popularity = Popularity()
    scorer = made.scorer(catalogue, popularity, texts.encode, choose_device("auto"))
    wanted = set(protocol.queries(data, catalogue.available))
    contenders: list[Contender] = [
        AtVisit("PPRM", scorer),
        AsServed.of("PPRM as served", scorer, data, wanted),
        *([AtVisit("PPRM, first stage", scorer, stages=1)] if made.second else []),
        *(_begun(baseline, data, catalogue) for baseline in (baselines.Popularity(7), PersonalTopFrequency())),
    ]
    task = bars.add_task("judging on November and December", total=len(data.baskets))
    outcome = protocol.run(
        data, catalogue, popularity, contenders, progress=lambda done: bars.update(task, completed=done)
    )
    return report.results(outcome, "PPRM", {})


def _begun(baseline: Baseline, data: Dataset, catalogue: Catalogue) -> Baseline:
    baseline.learn(data, catalogue, int(PERIOD[1].timestamp()))
    return baseline


def judge_artifact(directory: Path, dataset: str, encoder: Path | None, console: Console) -> Results:
    """The job of `pprm evaluate`: judge an artifact on a dataset's test month.

    Raises:
        pprm.artifact.ArtifactError: it cannot be trusted.
    """
    loaded = artifact.load(directory)
    data, texts = DATASETS[dataset](), loaded.encoder(encoder)
    catalogue = make_catalogue(data, texts)
    with _progress(console) as bars:
        results = judge(bars, loaded, data, catalogue, texts)
    console.print(report.table(results))
    return results
