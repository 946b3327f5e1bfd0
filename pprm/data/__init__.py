"""Shops to train on: a module each, all giving a `dataset.Dataset`."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from pprm.data.files import TableError

if TYPE_CHECKING:
    from pprm.data.dataset import Dataset


def _loader(module: str) -> "Callable[..., Dataset]":
    def load(*paths: Any, **options: Any) -> "Dataset":
        read = import_module(f"pprm.data.{module}").load
        try:
            signature(read).bind(*paths, **options)
        except TypeError as error:
            raise TableError(
                f"{len(paths)} files are not what {module} is read from: see docs/data.md"
            ) from error
        dataset: Dataset = read(*paths, **options)
        return dataset

    return load


DATASETS: "dict[str, Callable[..., Dataset]]" = {
    name: _loader(name.replace("-", "_"))
    for name in ("complete-journey", "table", "rees46", "taobao", "google-merchandise", "yelp")
}
"""Loader of each dataset, imported when it is called: the worker needs no pandas.

A loader takes the paths of its files, as docs/data.md lists them, `progress=` and `strict=`. That
of complete-journey takes none: its data is in a package.
"""
