"""The topics of the worker as they were seen last."""

from collections.abc import Mapping

from worker.runtime.metadata import Topic


class SeenTopics:
    """What the topic watch saw when it looked last: it alone notes, others ask."""

    def __init__(self) -> None:
        self._found: Mapping[str, Topic] = {}
        self._partitions: dict[str, int] = {}

    def note(self, found: Mapping[str, Topic]) -> None:
        """These topics exist, and no others."""
        self._found = dict(found)
        self._partitions |= {name: topic.partitions for name, topic in found.items()}

    def get(self, name: str) -> Topic | None:
        """Return a topic, None where it did not exist."""
        return self._found.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def partitions(self, name: str) -> int:
        """How many partitions a topic has; one that is missing now, when it was seen last."""
        return self._partitions[name]
