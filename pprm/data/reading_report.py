"""What was read of a shop's files, what was left out, and why.

Every command that reads tables ends with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PLACES = 3
"""First places that are named of each reason."""
REASONS = 20
"""Distinguished in a file; what comes later is counted together."""
OTHERS = "other reasons"
SHARE = 0.5
"""A file of which more than this cannot be used is not what it was taken for."""


class TableError(ValueError):
    """Data that cannot be read; the text says where it stands and what to do."""


class Unusable(ValueError):
    """A row, or a cell of it, that cannot be used.

    It has the rule that is broken, and the value that breaks it.
    """

    def __init__(self, rule: str, value: Any = None) -> None:
        """`value` is not part of what rows are counted by."""
        super().__init__(rule if value is None else f"{rule}, not {str(value)[:40]!r}")
        self.rule = rule


class PassedOver(Exception):
    """A row that is left out on purpose; the text is the reason."""


@dataclass(slots=True)
class SharedReason:
    """How many rows share a reason, the first places, and the reason of the first row."""

    text: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str, count: int = 1) -> None:
        """One more, or so many."""
        self.count += count
        if place and len(self.places) < PLACES:
            self.places.append(place)

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.places) else ""
        where = f" ({', '.join(self.places)}{more})" if self.places else ""
        return f"{self.count:,}: {self.text}{where}"


Reasons = dict[str, SharedReason]


@dataclass(slots=True)
class Part:
    """A file, or what was found when files were put together."""

    read: int = 0
    """Rows."""
    unusable: Reasons = field(default_factory=dict)
    passed_over: Reasons = field(default_factory=dict)
    """Left out on purpose: nothing is wrong with them."""
    changed: Reasons = field(default_factory=dict)
    """Taken, but not as they stand."""

    def lines(self) -> Iterator[str]:
        """Each reason in words."""
        for label, reasons in (
            ("left out", self.unusable | self.passed_over),
            ("changed", self.changed),
        ):
            yield from (f"  {label} {found}" for found in reasons.values())


@dataclass(slots=True)
class Report:
    """Of one reading, by file."""

    strict: bool = False
    """Whether a row that cannot be taken as it stands is an error."""
    parts: dict[str, Part] = field(default_factory=dict)

    def part(self, name: str) -> Part:
        """A file's part, by its path."""
        return self.parts.setdefault(name, Part())

    def unusable(self, name: str, error: Exception, place: str, count: int = 1) -> None:
        """Note a row that is left out since it cannot be used.

        Raises:
            TableError: the reading is strict.
        """
        self._refuse_if_strict(name, error, place)
        _add(self.part(name).unusable, error, place, count)

    def changed(self, name: str, error: Exception, place: str) -> None:
        """Note a row with a cell that was left empty or a text that was cut.

        Raises:
            TableError: the reading is strict.
        """
        self._refuse_if_strict(name, error, place)
        _add(self.part(name).changed, error, place, 1)

    def passed_over(self, name: str, reason: str, place: str = "", count: int = 1) -> None:
        """Rows are left out on purpose."""
        if count:
            self.part(name).passed_over.setdefault(reason, SharedReason(reason)).add(place, count)

    def check(self, name: str, of: int | None = None) -> None:
        """Check that enough of a file, or `of` so many rows, could be used.

        Raises:
            TableError: the file holds no rows, or most of them cannot be used.
        """
        part = self.part(name)
        rows, unusable = part.read if of is None else of, part.unusable
        count = sum(found.count for found in unusable.values())
        if not rows:
            raise TableError(f"{name}: there are no rows in it")
        if count > rows * SHARE:
            reasons = "\n".join(f"  {found}" for found in unusable.values())
            raise TableError(f"{name}: {count:,} of {rows:,} rows cannot be used:\n{reasons}")

    @property
    def left_out(self) -> dict[str, int]:
        """How many rows were left out, by reason."""
        counts: dict[str, int] = {}
        for part in self.parts.values():
            for reason, found in (part.unusable | part.passed_over).items():
                counts[reason] = counts.get(reason, 0) + found.count
        return counts

    def __str__(self) -> str:
        return "\n".join(
            line for name, part in self.parts.items() for line in (_head(name, part), *part.lines())
        )

    def _refuse_if_strict(self, name: str, error: Exception, place: str) -> None:
        if self.strict:
            raise TableError(f"{name}, {place}: {error}" if place else f"{name}: {error}")


def _add(reasons: Reasons, error: Exception, place: str, count: int) -> None:
    rule = error.rule if isinstance(error, Unusable) else str(error)
    text = str(error)
    if rule not in reasons and len(reasons) >= REASONS:
        rule = text = OTHERS
    reasons.setdefault(rule, SharedReason(text)).add(place, count)


def _head(name: str, part: Part) -> str:
    left = sum(found.count for found in (part.unusable | part.passed_over).values())
    if not part.read:
        return f"{name}:"
    return f"{name}: {part.read:,} rows read, {f'{part.read - left:,}' if left else 'all'} taken"
