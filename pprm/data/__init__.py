"""Shops to train on: a module each, all giving a `dataset.Dataset`.

A module here that has a `NAME` is a data set. Its `FILES` says what it is read from, its `load`
reads that. A module is imported when its data is read: the worker needs no pandas.
"""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

from pprm.core import named_modules

if TYPE_CHECKING:
    from pprm.data.dataset import Dataset


class DataSet(NamedTuple):
    """A data set that can be read."""

    name: str
    module: str
    files: tuple[str, ...]
    """What its files are, in the order of `load`'s arguments; empty: its data is in a package."""

    def __call__(self, *paths: Any, **options: Any) -> "Dataset":
        """Read it from the paths of its files; options are `progress=` and `strict=`.

        Raises:
            pprm.data.files.TableError: it cannot be read.
        """
        load = import_module(f"{__name__}.{self.module}").load
        try:
            signature(load).bind(*paths, **options)
        except TypeError as error:
            from pprm.data.files import TableError

            raise TableError(
                f"{len(paths)} files are not what {self.name} is read from"
                f" ({', '.join(self.files)}): see docs/data.md"
            ) from error
        dataset: Dataset = load(*paths, **options)
        return dataset


DATASETS: Mapping[str, DataSet] = named_modules.Modules(
    __name__, lambda found: DataSet(found.name, found.module, found.constants["FILES"])
)
"""By name, looked for anew each time."""
