"""The whole job of `pprm train`: read the data, encode texts, replay, learn, judge, and write the artifact."""

import resource
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pprm import artifact, evaluate, model_card, training_set
from pprm.catalogue import Catalogue
from pprm.datasets import complete_journey
from pprm.datasets.dataset import Dataset
from pprm.fit import fit
from pprm.model import PPRM, PPRMConfig
from pprm.popularity import Popularity
from pprm.scorer import Scorer, choose_device
from pprm.text_encoder import TextEncoder

DATASETS = {complete_journey.NAME: complete_journey.load}
MODELS = {"pprm-s": PPRMConfig(), "paper": PPRMConfig.paper()}
PERIOD = (datetime(2017, 7, 1, tzinfo=UTC), datetime(2017, 11, 1, tzinfo=UTC))
"""Visits that are learned from; half a year of history is before them."""
VISITS = 40_000
VERSION = "1"


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
        trained, seconds = _learn(bars, config, data, catalogue, texts, seed)
        scorer = Scorer(trained, catalogue, Popularity(), texts.encode, choose_device("auto"))
        task = bars.add_task("judging on November and December", total=len(data.baskets))
        results = evaluate.evaluate(data, catalogue, scorer, lambda done: bars.update(task, completed=done))
    results["training"] = {
        "dataset": dataset, "seed": seed, "visits": VISITS, "fit_seconds": round(seconds, 1),
        "seconds": round(perf_counter() - started, 1), "peak_memory_bytes": _peak_memory(),
    }  # fmt: skip
    card = model_card.write(config, results)
    sha256 = artifact.save(out, trained.cpu(), VERSION, texts.vectors, results, card)
    console.print(evaluate.table(results))
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


def _learn(
    bars: Progress, config: PPRMConfig, data: Dataset, catalogue: Catalogue, texts: TextEncoder, seed: int
) -> tuple[PPRM, float]:
    task = bars.add_task("replaying purchases", total=len(data.baskets))
    period = (int(PERIOD[0].timestamp()), int(PERIOD[1].timestamp()))
    examples = training_set.build(data, catalogue, period, VISITS, seed, lambda done: bars.update(task, completed=done))
    task, started = bars.add_task("learning", total=None), perf_counter()

    def learned(step: int, steps: int, loss: float) -> None:
        bars.update(task, completed=step, total=steps, description=f"learning, loss {loss:.4f}")

    users = texts.encode([data.profile(user) for user in data.users])
    return fit(config, examples, catalogue, users, seed, learned), perf_counter() - started


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(directory: Path, dataset: str, encoder: Path | None, console: Console) -> dict[str, Any]:
    """The job of `pprm evaluate`: judge an artifact on a dataset's test month.

    Raises:
        pprm.artifact.ArtifactError: it cannot be trusted.
    """
    loaded = artifact.load(directory)
    data, texts = DATASETS[dataset](), loaded.encoder(encoder)
    catalogue = make_catalogue(data, texts)
    scorer = Scorer(loaded.model, catalogue, Popularity(), texts.encode, choose_device("auto"))
    with _progress(console) as bars:
        task = bars.add_task("judging on November and December", total=len(data.baskets))
        results = evaluate.evaluate(data, catalogue, scorer, lambda done: bars.update(task, completed=done))
    console.print(evaluate.table(results))
    return results
