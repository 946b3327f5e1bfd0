"""What is in the topics, as far as it matters here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class Record(NamedTuple):
    """A record; `family` is the topic's name without prefix."""

    family: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = MappingProxyType({})


@dataclass
class Log:
    """All that is in the topics, in order, and the group's commits by family and partition."""

    inputs: list[Record] = field(default_factory=list)
    changelog: list[Record] = field(default_factory=list)
    lists: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    products: list[Record] = field(default_factory=list)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)

    def is_committed(self, family: str, partition: int, offset: int) -> bool:
        return offset < self.committed.get((family, partition), 0)


def sizes(log: Log) -> dict[str, int]:
    """How much there was to judge."""
    return {
        "inputs": len(log.inputs),
        "committed": sum(log.committed.values()),
        "changelog": len(log.changelog),
        "lists": len(log.lists),
        "letters": len(log.letters),
    }
