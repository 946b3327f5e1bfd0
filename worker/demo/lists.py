"""What was recommended: each household's newest list, who waits for one, and how long each took."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PATIENCE = 60.0
"""Seconds without any list after which one that does not come is an error."""


class NoListError(RuntimeError):
    """The worker did not answer."""


class RecordPlace(NamedTuple):
    """A record's place."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One published list."""

    identity: str
    products: tuple[str, ...]
    reasons: tuple[tuple[str, ...], ...]
    trigger: RecordPlace
    cause: str = "event"
    """Why it was made: `schemas.recommendations.Cause`."""

    @property
    def is_asked(self) -> bool:
        """Whether it answers a record of the household's own."""
        return self.cause in ("event", "request")

    def answers(self, event: RecordPlace) -> bool:
        """Whether the list is an answer with this event folded.

        It is if the event is the trigger, or came before it in its topic.
        """
        is_later = self.trigger[:2] == event[:2] and self.trigger.offset >= event.offset
        return self.is_asked and is_later


class Change(NamedTuple):
    """A household's list, and the one before it."""

    household: str
    before: Listed
    after: Listed


@dataclass(slots=True)
class Lists:
    """The lists received so far."""

    newest: dict[str, Listed] = field(default_factory=dict)
    received: int = 0
    unasked: int = 0
    """Of these, lists that were made again without an event of their household."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the send of a list's trigger to the list's receipt, of the replayed events."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model named by the newest list."""
    _sent: dict[str, float] = field(default_factory=dict)
    """When each household's visit that waits for its list was sent: it has one at a time."""
    _waiting: dict[str, tuple[RecordPlace | None, asyncio.Future[Listed]]] = field(
        default_factory=dict
    )

    def sent(self, household: str, at: float) -> None:
        """Note when a household's visit was sent, on the clock that `receive` is given."""
        self._sent[household] = at

    def receive(self, message: Mapping[str, Any], at: float) -> Change | None:
        """Take in a message of the topic `recommendations`.

        A repeat, known by its id, is passed over. Returns what changed of a list that was made
        again unasked, None of any other.
        """
        household, listed = message["user_id"], _listed(message)
        before = self.newest.get(household)
        if before and before.identity == listed.identity:
            return None
        self.newest[household] = listed
        self.received += 1
        self.unasked += not listed.is_asked
        self.model = message["model"]
        if household in self._sent and listed.is_asked:
            self.latencies.append(at - self._sent[household])
        self._wake(household, listed)
        return Change(household, before, listed) if before and not listed.is_asked else None

    async def answer(self, household: str, event: RecordPlace | None = None) -> Listed:
        """Wait for the household's list that answers this event.

        Where there is none, any list will do.

        Raises:
            NoListError: it did not come, and no other came for `PATIENCE` seconds.
        """
        try:
            listed = self.newest.get(household)
            if listed and (event is None or listed.answers(event)):
                return listed
            future: asyncio.Future[Listed] = asyncio.get_running_loop().create_future()
            self._waiting[household] = event, future
            return await self._wait_while_lists_come(future)
        except TimeoutError:
            text = (
                f"no list for household {household} in answer"
                f" to {event}: none came for {PATIENCE:.0f} s"
            )
            raise NoListError(text) from None
        finally:
            self._waiting.pop(household, None)
            self._sent.pop(household, None)

    async def _wait_while_lists_come(self, future: "asyncio.Future[Listed]") -> Listed:
        while True:
            received = self.received
            done, _ = await asyncio.wait([future], timeout=PATIENCE)
            if done:
                return future.result()
            if self.received == received:
                raise TimeoutError

    def _wake(self, household: str, listed: Listed) -> None:
        event, future = self._waiting.get(household, (None, None))
        if future and not future.done() and (event is None or listed.answers(event)):
            future.set_result(listed)


def _listed(message: Mapping[str, Any]) -> Listed:
    trigger, items = message["trigger"], message["items"]
    return Listed(
        identity=message["recommendation_id"],
        products=tuple(item["product_id"] for item in items),
        reasons=tuple(tuple(item["reasons"]) for item in items),
        trigger=RecordPlace(trigger["topic"], trigger["partition"], trigger["offset"]),
        cause=trigger["kind"],
    )
