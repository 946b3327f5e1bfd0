"""Learning and judging: train, evaluate."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker import settings as settings_module
from worker.cli.errors import fail
from worker.cli.options import (
    DatasetName,
    Events,
    Files,
    Products,
    Strict,
    Users,
    Vectors,
    source_of,
)


def train(
    out: Annotated[Path, typer.Option(help="Directory to write the artifact to.")],
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    events: Events = None,
    products: Products = None,
    users: Users = None,
    vectors: Vectors = None,
    strict: Strict = False,
    model: Annotated[
        str, typer.Option(help="pprm-s, or paper: the network and training exactly as published.")
    ] = "pprm-s",
    start: Annotated[
        Path | None, typer.Option(help="Artifact of another shop to learn on from.")
    ] = None,
    visits: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn from so many visits at most, drawn at random: less time and memory."
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed gives the same weights and lists; the artifact's"
            " hash differs, since its figures of time and memory do."
        ),
    ] = 0,
    encoder: Annotated[
        Path | None, typer.Option(help="BERT directory; the bundled one where not given.")
    ] = None,
) -> None:
    """Train PPRM and write an artifact that `pprm worker --model` serves.

    Replays the events through the worker's own fold, learns, judges on the last quarter of the
    baskets, says whether the model beats a shop without one, and writes weights, text vectors,
    tables, figures, model card and hashes. Its cost is printed when the data is read: nine
    minutes of an idle core and 7 GiB for the bundled data.

    pprm train --out my-model --events events.csv --products products.csv
    """
    from pprm.data.files import TableError
    from pprm.serving.artifact import ArtifactError
    from pprm.training import train as training

    if model not in training.MODELS:
        fail(f"models: {', '.join(training.MODELS)}")
    try:
        source = source_of(dataset, file, (events, products, users), vectors, strict)
        job = training.TrainingJob(source, model, seed, encoder, start, visits)
        training.run(job, out, _wide())
    except (TableError, ArtifactError) as error:
        fail(str(error))


def evaluate(
    artifact: Annotated[
        Path | None, typer.Argument(help="Artifact directory; else the bundled one.")
    ] = None,
    dataset: DatasetName = "complete-journey",
    file: Files = None,
    events: Events = None,
    products: Products = None,
    users: Users = None,
    vectors: Vectors = None,
    strict: Strict = False,
    models: Annotated[
        str,
        typer.Option(
            help="What to judge beside it: baselines, first-stage,"
            " second-stage, young, frozen, unseen; or all."
        ),
    ] = "",
    encoder: Annotated[
        Path | None, typer.Option(help="BERT directory, for texts the artifact does not know.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the figures as a Markdown table.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the table as a PNG.")] = None,
) -> None:
    """Judge an artifact: NDCG, recall, hit rate of the first 10, all and new products.

    Accuracy, precision and recall of decisions are judged, too.

    What a shop has without a model stands beside it (popularity in three windows, own frequency
    with popularity, looked at last), and a sentence says whether the model beats that: about four
    minutes. With --models all, every baseline and every variant learns first: about an hour. Data
    of another shop than the artifact's gives the zero-shot figures.
    """
    from pprm.data.files import TableError
    from pprm.evaluation import report as reporting
    from pprm.experiments import compare
    from pprm.serving.artifact import ArtifactError

    kinds = compare.MODELS if models == "all" else tuple(filter(None, models.split(",")))
    if not set(kinds) <= set(compare.MODELS):
        fail(f"models: {', '.join(compare.MODELS)}, all")
    try:
        directory = artifact or settings_module.Model().directory
        source = source_of(dataset, file, (events, products, users), vectors, strict)
        results = compare.run(directory, source, encoder, kinds, _wide())
    except (TableError, ArtifactError) as error:
        fail(str(error))
    if report:
        report.write_text(json.dumps(results, indent=2) + "\n")
    if table:
        table.write_text(reporting.markdown(results))
    if plot:
        reporting.plot(results, plot)


def _wide() -> Console:
    """For tables, which a file or a pipe takes whole, as wide as they are."""
    return Console(width=None if sys.stdout.isatty() else 140)
