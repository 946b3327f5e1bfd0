"""Who gets which partitions.

Partitions of one number, of the topics that are cut like the table, go to one worker, or to none.

Faust's own puts topics together that happen to have equal numbers of partitions. One that gets more
of them while the workers run is dealt out by itself then, to workers that do not hold the shoppers'
states, and there are no states for its new partitions. Here it waits in Kafka, whole: since its
producers deal shoppers out among more partitions, none of them can be trusted to hold the shoppers
that it held before.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from faust.assignor import PartitionAssignor


def together(
    counts: Mapping[str, int], keyed: frozenset[str], changelog: str, partitions: int
) -> list[set[str]]:
    """Find the topics to be assigned, those together whose partitions of one number go together.

    Args:
        counts: partitions by topic, of those that exist.
        keyed: topics that are cut like the table.
        changelog: of the table; without it nothing can be kept, so nothing is read.
        partitions: of the table.
    """
    alike = {topic for topic in keyed | {changelog} if counts.get(topic) == partitions}
    others = [{topic} for topic in sorted(counts.keys() - keyed - {changelog})]
    return [alike, *others] if changelog in alike else others


class TableAssignor(PartitionAssignor):  # type: ignore[misc]
    """Deals out by the table's number of partitions, see `RuntimeApp.partitions`."""

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        self._cluster = cluster
        return super()._perform_assignment(cluster, member_metadata)

    def _get_client_metadata(self, metadata: Any) -> Any:
        """Return what a member had before, without partitions that do not exist any more.

        Faust never removes any.
        """
        client = super()._get_client_metadata(metadata)
        for assigned in (client.assignment.actives, client.assignment.standbys):
            counts = self._counts(assigned)
            assigned.update(
                {
                    topic: [p for p in had if p < counts.get(topic, 0)]
                    for topic, had in assigned.items()
                }
            )
        return client

    def _get_copartitioned_groups(self, topics: set[str], cluster: Any, subscriptions: Any) -> Any:
        app, counts = self.app, self._counts(topics)
        groups = defaultdict[int, list[set[str]]](list)
        for group in together(counts, app.keyed, app.changelog, app.partitions):
            groups[counts[next(iter(group))]].append(group)
        return groups

    def _counts(self, topics: Iterable[str]) -> dict[str, int]:
        known = {topic: self._cluster.partitions_for_topic(topic) for topic in topics}
        return {topic: len(partitions) for topic, partitions in known.items() if partitions}
