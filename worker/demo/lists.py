"""What was recommended: each household's newest list, who waits for one, and how long each took."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PATIENCE = 120.0
"""Seconds after which a list that does not come is an error."""


class NoListError(RuntimeError):
    """The worker did not answer."""


class Position(NamedTuple):
    """A record's place."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One published list."""

    products: tuple[str, ...]
    reasons: tuple[tuple[str, ...], ...]
    scores: tuple[float, ...]
    trigger: Position

    def answers(self, event: Position) -> bool:
        """Whether the list was made with this event folded: it is the trigger, or came before it in its topic."""
        return self.trigger[:2] == event[:2] and self.trigger.offset >= event.offset


@dataclass(slots=True)
class Lists:
    """The lists received so far."""

    newest: dict[str, Listed] = field(default_factory=dict)
    received: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds from the send of a list's trigger to the list's receipt, of the replayed events."""
    first_at: float | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model named by the newest list."""
    _sent: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, tuple[Position | None, asyncio.Future[Listed]]] = field(default_factory=dict)

    def sent(self, event_ids: list[str], at: float) -> None:
        """Note when events were sent, on the clock that `receive` is given."""
        self._sent.update(dict.fromkeys(event_ids, at))

    def receive(self, message: Mapping[str, Any], at: float) -> None:
        """Take in a message of the topic `recommendations`."""
        household, listed = message["user_id"], _listed(message)
        self.newest[household] = listed
        self.received += 1
        self.model = message["model"]
        if self.first_at is None:
            self.first_at = at
        sent = self._sent.pop(message["trigger"]["event_id"], None)
        if sent is not None:
            self.latencies.append(at - sent)
        self._wake(household, listed)

    async def answer(self, household: str, event: Position | None = None) -> Listed:
        """Wait for the household's list that answers this event, or, where there is none, for any list.

        Raises:
            NoListError: it did not come within `PATIENCE` seconds.
        """
        listed = self.newest.get(household)
        if listed and (event is None or listed.answers(event)):
            return listed
        future: asyncio.Future[Listed] = asyncio.get_running_loop().create_future()
        self._waiting[household] = event, future
        try:
            return await asyncio.wait_for(future, PATIENCE)
        except TimeoutError:
            raise NoListError(f"no list for household {household} within {PATIENCE:.0f} s of {event}") from None
        finally:
            self._waiting.pop(household, None)

    def _wake(self, household: str, listed: Listed) -> None:
        event, future = self._waiting.get(household, (None, None))
        if future and not future.done() and (event is None or listed.answers(event)):
            future.set_result(listed)


def _listed(message: Mapping[str, Any]) -> Listed:
    trigger, items = message["trigger"], message["items"]
    return Listed(
        products=tuple(item["product_id"] for item in items),
        reasons=tuple(tuple(item["reasons"]) for item in items),
        scores=tuple(item["score"] for item in items),
        trigger=Position(trigger["topic"], trigger["partition"], trigger["offset"]),
    )
