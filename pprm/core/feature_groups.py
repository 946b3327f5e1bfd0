"""Columns of a feature matrix by name.

Positions follow from the names and are written nowhere else. Compiled loops read them as constants
of their module, which are computed once when it is imported.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Fill = Callable[..., None]
"""Called with what is known, and the group's columns to fill, [n, len(columns)], all 0."""


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Columns that belong together."""

    name: str
    columns: tuple[str, ...]
    fill: Fill | None = None
    """The loop that fills the columns. None: one loop fills several groups, this one among them."""

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"{self.name} has a column twice: {', '.join(self.columns)}")

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def at(self, *names: str) -> Sequence[int]:
        """Return the places of columns within the group."""
        return [self.columns.index(name) for name in names]

    def run(self, names: Sequence[str]) -> slice:
        """Return the place of columns that one loop fills together.

        Raises:
            ValueError: they do not lie side by side in this order.
        """
        start = self.columns.index(names[0])
        if self.columns[start : start + len(names)] != tuple(names):
            raise ValueError(f"not side by side in {self.name}: {', '.join(names)}")
        return slice(start, start + len(names))

    def stack(self, named: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return columns [n] by name as one matrix, [n, len(self)]."""
        return np.stack([named[name] for name in self.columns], 1)


@dataclass(frozen=True)
class Layout:
    """Groups side by side."""

    groups: tuple[FeatureGroup, ...]
    separator: str = "."
    """Between the names of a group and of its column."""

    def __post_init__(self) -> None:
        if len({group.name for group in self.groups}) < len(self.groups):
            raise ValueError("two groups have the same name")

    def __getitem__(self, name: str) -> FeatureGroup:
        return next(group for group in self.groups if group.name == name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All columns, in order."""
        return tuple(f"{g.name}{self.separator}{name}" for g in self.groups for name in g.columns)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The columns of each group."""
        ends = np.cumsum([len(group) for group in self.groups]).tolist()
        return {g.name: slice(end - len(g), end) for g, end in zip(self.groups, ends, strict=True)}

    def at(self, group: str, *names: str) -> Sequence[int]:
        """Return the places of columns of a group among all columns."""
        return [self.slices[group].start + place for place in self[group].at(*names)]

    def run(self, group: str, names: Sequence[str]) -> slice:
        """See `FeatureGroup.run`, among all columns."""
        start, run = self.slices[group].start, self[group].run(names)
        return slice(start + run.start, start + run.stop)
