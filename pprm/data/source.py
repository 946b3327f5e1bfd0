"""Where a dataset is read from.

That is its name, its files, and its products' vectors where they are made elsewhere.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pprm.data import DATASETS
from pprm.data.dataset import Dataset
from pprm.data.files import OnProgress, silent

BUNDLED = "complete-journey"


class Source(NamedTuple):
    """A dataset's name and the files that it is read from, as docs/data.md lists them."""

    dataset: str = BUNDLED
    files: tuple[Path, ...] = ()
    vectors: Path | None = None
    """Of the products (`vectors.load_vectors`); None: their texts are read."""
    strict: bool = False
    """Whether a row that cannot be used is an error, instead of being left out and reported."""


def read(source: Source, progress: OnProgress = silent) -> Dataset:
    """Read a dataset; `progress` gets the bytes read and their total.

    Raises:
        KeyError: no such dataset.
        pprm.data.files.TableError: it cannot be read.
    """
    options: dict[str, Any] = (
        {"progress": progress, "strict": source.strict} if source.files else {}
    )
    data = DATASETS[source.dataset](*source.files, **options)
    if source.vectors is None:
        return data
    from pprm.data import vectors

    return replace(data, products=list(vectors.added(data.products, source.vectors)))
