"""Who gets which partitions.

The input topics are cut like the table: a shopper has the same partition number in all of them. So
partitions of one number go to one worker, or to none.

Faust's assignor puts topics together that happen to have equal numbers of partitions. A topic that
gets more while the workers run is then dealt out by itself: to workers that do not hold its
shoppers' states, and with partitions that have no states at all. Here such a topic is assigned to
nobody and waits in Kafka, whole: its producers spread shoppers over more partitions now, so no
partition can be trusted to hold the shoppers that it held before.
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
    """Assigns partitions by the table's number of them, see `RuntimeApp.partitions`."""

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
