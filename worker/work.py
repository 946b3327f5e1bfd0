"""What one micro-batch is about: the shoppers it touches and the records it refuses."""

from dataclasses import dataclass, field
from typing import Any

from pprm.events import Event, Profile
from pprm.fold import Folded
from pprm.user_state import UserState
from worker.codec import Decoded, Invalid
from worker.recommender import Ranked


@dataclass(slots=True)
class Shopper:
    """One user-keyed shopper of a batch: what came, what became of the state, what is recommended."""

    partition: int
    key: bytes
    received: list[tuple[Any, Decoded]] = field(default_factory=list)
    """Records with what they say, in the order they are folded."""
    events: list[Event] = field(default_factory=list)
    """What they say, as it is folded: purchases know the promotion of their product."""
    damaged: bytes | None = None
    """What the table held, where it could not be read as a state."""
    folded: Folded | None = None
    ranked: Ranked | None = None
    value: bytes = b""
    """The state after the batch, as stored."""

    @property
    def state(self) -> UserState:
        """The state after the batch."""
        assert self.folded
        return self.folded.state

    @property
    def newest(self) -> int:
        """Event time of the newest of the events, Unix seconds."""
        return max(decoded.event.time for _, decoded in self.received)

    @property
    def forgotten(self) -> bool:
        """The last word on this shopper was to forget."""
        event = self.received[-1][1].event
        return isinstance(event, Profile) and event.text is None


@dataclass(slots=True)
class Work:
    """A decoded micro-batch."""

    shoppers: dict[tuple[int, bytes], Shopper] = field(default_factory=dict)
    refused: list[tuple[Any, Invalid]] = field(default_factory=list)
