"""The lists in force of the partitions owned, and which of them to make again unasked.

A list is made again when it is old (a refresh), and when it holds a product that is not available
any more (a retraction). Every method runs in the one model thread.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic

import numpy as np

from pprm.catalogue.catalogue import Catalogue
from pprm.core.events import SOURCES, topic_of
from pprm.state.user_state import DAY, UserState
from pprm.state.watermarks import WATERMARK
from schemas.recommendations import Cause
from worker.pipeline.codec import Trigger
from worker.pipeline.lists_in_force import RECALLED, ListsInForce
from worker.pipeline.past import Past
from worker.pipeline.stream_time import StreamTime
from worker.pipeline.work import Shopper, Unasked, Work
from worker.settings import Recommendations, Topics


class FreshLists:
    """Knows of every shopper's list when it is due, and what it holds."""

    def __init__(
        self,
        chosen: Recommendations,
        topics: Topics,
        time: StreamTime,
        past: Past,
        *,
        are_known: bool,
    ) -> None:
        """`are_known`: a list and its state are written as one, so readers have those of states."""
        self._products, self._period = chosen.k, int(chosen.refresh_hours * 3600)
        self._session = chosen.session_minutes * 60
        self._active = int(chosen.refresh_active_days * DAY)
        self._topics, self._time, self._past, self._are_known = topics, time, past, are_known
        self._partitions: dict[int, ListsInForce] = {}
        self._withdrawn: dict[int, Trigger] = {}
        """The records by which products, by their hashes, are not available."""
        self._catalogue: Catalogue | None = None
        self._recalled_at: float | None = None
        """When the first of the lists was recalled that are not made again yet."""

    def own(self, partition: int) -> None:
        """Begin a partition anew, without lists."""
        self._partitions[partition] = ListsInForce(self._products, self._period, self._session)

    def add_states(
        self, keys: Sequence[bytes], states: Sequence[UserState], partition: int
    ) -> None:
        """Take in states that were read back."""
        self._partitions[partition].note(keys, states, is_known=self._are_known)

    def disown(self, partitions: Iterable[int]) -> None:
        """Leave partitions to their next owner."""
        for partition in partitions:
            self._partitions.pop(partition, None)
        self._time.forget(partitions)

    def note(self, shoppers: Iterable[Shopper]) -> None:
        """Take in what became of the shoppers of a micro-batch."""
        for _, lists, mine in self._by_partition(shoppers):
            lists.note([one.key for one in mine], [one.state for one in mine])

    def known(self, shoppers: Iterable[Shopper]) -> set[tuple[int, bytes]]:
        """Partition and key of those whose readers are known to have the list in force."""
        return {
            (partition, one.key)
            for partition, lists, mine in self._by_partition(shoppers)
            for one, is_known in zip(mine, lists.known([one.key for one in mine]), strict=True)
            if is_known
        }

    def catalogue_is_read(self, catalogue: Catalogue) -> None:
        """All products are known: recall the lists that hold others than those available."""
        self._catalogue = catalogue
        self.look_for_withdrawn(self._partitions)

    def look_for_withdrawn(self, partitions: Iterable[int]) -> None:
        """Recall lists of these partitions that hold what is not available, once that is known."""
        if self._catalogue is None:
            return
        available = self._catalogue.hashes[self._catalogue.available]
        withdrawn = np.fromiter(self._withdrawn, np.uint64, len(self._withdrawn))
        for partition in list(partitions):
            lists = self._partitions[partition]
            self._recall(lists.recall_all_but(available, withdrawn))

    def change(self, gone: Mapping[int, Trigger], back: Iterable[int], recalled: set[int]) -> None:
        """Note products, by their hashes, that are not available, and that are again.

        Lists that hold any of `recalled`, which are not available since just now, are recalled.
        """
        self._withdrawn |= gone
        for product in back:
            self._withdrawn.pop(product, None)
        if recalled and self._catalogue is not None:
            products = np.fromiter(recalled, np.uint64, len(recalled))
            for lists in self._partitions.values():
                self._recall(lists.recall(products))

    @property
    def is_any_due(self) -> bool:
        """Whether there may be lists to make now; touches nothing, for any thread."""
        due = ((self._now(number), lists) for number, lists in list(self._partitions.items()))
        return any(lists.earliest <= now for now, lists in due)

    @property
    def retraction_waits(self) -> float:
        """Seconds for which a list has waited that holds what is not available; for any thread."""
        return monotonic() - self._recalled_at if self._recalled_at is not None else 0.0

    def waiting(self) -> int:
        """How many lists are due."""
        return sum(
            lists.waiting(self._now(partition)) for partition, lists in self._partitions.items()
        )

    def take(self, most: int) -> Work:
        """Take out shoppers whose lists are due, so many at most: `choose` looks at their states.

        The partitions take turns in being the first.
        """
        work = Work(is_turn=True)
        for partition, lists in list(self._partitions.items()):
            now = self._now(partition)
            keys = lists.due(now, max(now - self._active, 0), most)
            work.partitions[partition] = {key: Shopper(partition, key) for key in keys}
            most -= len(keys)
            if keys:  # the others first the next time
                self._partitions[partition] = self._partitions.pop(partition)
        if not any(lists.recalled for lists in self._partitions.values()):
            self._recalled_at = None
        return work

    def choose(self, work: Work) -> None:
        """Say of the shoppers of a turn why they get a list; whoever gets none leaves."""
        for partition, shoppers in work.partitions.items():
            leaving = []
            for shopper in shoppers.values():
                shopper.unasked = self._why(partition, shopper)
                leaving += [] if shopper.unasked else [shopper]
            self.note(leaving)
            for shopper in leaving:
                del shoppers[shopper.key]

    def _why(self, partition: int, shopper: Shopper) -> Unasked | None:
        state, now = shopper.state, self._now(partition)
        if (gone := self._gone(state)) is not None:
            trigger = self._withdrawn.get(gone) or self._last_record(state, "retraction")
            return Unasked(trigger, max(now, state.listed_at, state.active_at))
        lists = self._partitions.get(partition)
        if (
            lists is None
            or state.active_at < now - self._active
            or lists.due_of(shopper.key, state) > now
        ):
            return None
        trigger = self._time.mover(partition) or self._last_record(state, "refresh")
        return Unasked(trigger, max(now, state.active_at))

    def _now(self, partition: int) -> int:
        """The partition's time. With none, or in the past, only what was recalled is due."""
        now = self._time.now(partition)
        return now if now is not None and self._past.is_live(now) else RECALLED

    def _gone(self, state: UserState) -> int | None:
        """The first product of the list in force that is not available."""
        assert self._catalogue is not None, "there is no turn before the catalogue is read"
        products, available = state.published_list(), self._catalogue.available
        for product, row in zip(products, self._catalogue.rows(products), strict=True):
            if row < 0 or not available[row]:
                return int(product)
        return None

    def _last_record(self, state: UserState, cause: Cause) -> Trigger:
        """The newest record of the topic first among those that the state knows of."""
        marks = enumerate(WATERMARK.iter_unpack(state.watermarks))
        source, partition, offset = next(
            ((source, mark[0], mark[2]) for source, mark in marks if mark[2] >= 0), (0, 0, 0)
        )
        return Trigger(cause, self._topics.name(SOURCES[topic_of(source)]), partition, offset)

    def _recall(self, count: int) -> None:
        if count and self._recalled_at is None:
            self._recalled_at = monotonic()

    def _by_partition(
        self, shoppers: Iterable[Shopper]
    ) -> Iterator[tuple[int, ListsInForce, list[Shopper]]]:
        """Shoppers of each partition that is owned, with its lists."""
        found: dict[int, list[Shopper]] = {}
        for shopper in shoppers:
            found.setdefault(shopper.partition, []).append(shopper)
        for partition, mine in found.items():
            if (lists := self._partitions.get(partition)) is not None:
                yield partition, lists, mine
