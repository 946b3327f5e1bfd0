"""The topic families: what each holds, who reads and writes it, how it is kept.

Topics, access rights, commands, metrics and the AsyncAPI document follow from `FAMILIES`.
CONTRIBUTING.md has an example of a new event type with all that it touches.
"""

from typing import Literal, NamedTuple, TypeAlias

from schemas.browses import Browse
from schemas.dead_letters import DeadLetterHeaders
from schemas.limits import Message
from schemas.products import Product
from schemas.purchases import Purchase
from schemas.recommendations import Recommendation
from schemas.requests import Request
from schemas.reviews import Review
from schemas.users import User

Configuration: TypeAlias = dict[str, list[str] | int]
"""As AsyncAPI's Kafka binding has it."""

DAY_MS = 86_400_000
_EVENTS: Configuration = {"cleanup.policy": ["delete"], "retention.ms": 7 * DAY_MS}
_REQUESTS: Configuration = {"cleanup.policy": ["delete"], "retention.ms": DAY_MS}
_NEWEST: Configuration = {"cleanup.policy": ["compact"]}
# only a shopper's newest list matters; it goes too when the shopper has been away for long
_LISTS: Configuration = {"cleanup.policy": ["compact", "delete"], "retention.ms": 30 * DAY_MS}
# an original may be as large as a broker takes by default, and headers come on top
_LETTERS: Configuration = {
    "cleanup.policy": ["delete"],
    "retention.ms": 30 * DAY_MS,
    "max.message.bytes": 2 << 20,
}


class Family(NamedTuple):
    """A topic and what it holds."""

    name: str
    message: type[Message]
    action: Literal["receive", "send"]
    """What the worker does with it."""
    configuration: Configuration
    key: Literal["user_id", "product_id"] = "user_id"
    takes_null: bool = False
    """A null value deletes what the key named."""

    @property
    def topic(self) -> str:
        """The topic's name by default."""
        return self.name.replace("_", "-")

    @property
    def is_user_keyed(self) -> bool:
        """Whether its records are folded into the shoppers' states."""
        return self.action == "receive" and self.key == "user_id"

    @property
    def has_event_ids(self) -> bool:
        """Whether it holds what shoppers did, each event with an id by which it counts once."""
        return "event_id" in self.message.model_fields


FAMILIES = {
    family.name: family
    for family in (
        Family("purchases", Purchase, "receive", _EVENTS),
        Family("browses", Browse, "receive", _EVENTS),
        Family("reviews", Review, "receive", _EVENTS),
        Family("users", User, "receive", _NEWEST, takes_null=True),
        Family("requests", Request, "receive", _REQUESTS),
        Family("products", Product, "receive", _NEWEST, key="product_id", takes_null=True),
        Family("recommendations", Recommendation, "send", _LISTS, takes_null=True),
        Family("dead_letters", DeadLetterHeaders, "send", _LETTERS),
    )
}
"""By name, as settings have it."""
READ = tuple(name for name, family in FAMILIES.items() if family.action == "receive")
WRITTEN = tuple(name for name, family in FAMILIES.items() if family.action == "send")
USER_KEYED = tuple(name for name, family in FAMILIES.items() if family.is_user_keyed)
"""In the order of `pprm.core.events.SOURCES`."""
EVENTS = tuple(name for name, family in FAMILIES.items() if family.has_event_ids)
