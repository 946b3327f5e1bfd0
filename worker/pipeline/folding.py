"""The second step of a micro-batch: each shopper's events into the state that is held."""

from collections.abc import Mapping

from pprm.core.events import SOURCES
from pprm.state import user_state
from pprm.state.fold import fold_into
from pprm.state.user_state import StateError, UserState
from pprm.state.watermarks import NO_MARK
from worker.pipeline.ownership import Ownership
from worker.pipeline.work import Shopper, Values, Work
from worker.runtime.table import BatchTable


class Folder:
    """Folds on the states of the table, or newer ones."""

    def __init__(
        self, families: Mapping[str, str], table: BatchTable, ownership: Ownership
    ) -> None:
        """`families` are those of the input topics, by topic."""
        self._families, self._table, self._ownership = families, table, ownership

    def fold(self, work: Work, unstored: Values) -> None:
        """One multi-get per partition, then every shopper's events into the state.

        `unstored` are states that are newer than the table's.
        """
        for partition, shoppers in work.partitions.items():
            newer = unstored.get(partition, {})
            asked = [key for key in shoppers if key not in newer]
            stored = iter(self._table.get_many(partition, asked))
            for key, shopper in shoppers.items():
                value = newer[key] if key in newer else next(stored)
                shopper.is_new = value is None
                state = self._read(shopper, value)
                shopper.listed = bool(state.published)
                shopper.folded = fold_into(state, shopper.events)

    def _read(self, shopper: Shopper, value: bytes | None) -> UserState:
        """Read the state held.

        A state that is damaged becomes a dead letter, and the shopper starts anew, when an event
        comes.
        """
        try:
            return user_state.decode(value)
        except StateError:
            if not shopper.events:
                return UserState()
            shopper.damaged = value
        marks = {
            self._families[topic]: (partition, self._ownership.log_of(topic, partition), done - 1)
            for (topic, partition), done in self._ownership.positions().items()
            if partition == shopper.partition
        }
        return user_state.anew([marks.get(source, NO_MARK) for source in SOURCES])
