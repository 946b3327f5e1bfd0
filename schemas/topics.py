"""How each topic is kept: part of the contract, and what `pprm topics create` makes."""

from typing import TypeAlias

Configuration: TypeAlias = dict[str, list[str] | int]

DAY_MS = 86_400_000
_EVENTS: Configuration = {"cleanup.policy": ["delete"], "retention.ms": 7 * DAY_MS}

CONFIGURATIONS: dict[str, Configuration] = {
    "purchases": _EVENTS,
    "browses": _EVENTS,
    "reviews": _EVENTS,
    "users": {"cleanup.policy": ["compact"]},
    "products": {"cleanup.policy": ["compact"]},
    # only a shopper's newest list matters; it goes too when the shopper has been away for long
    "recommendations": {"cleanup.policy": ["compact", "delete"], "retention.ms": 30 * DAY_MS},
    # an original may be as large as a broker takes by default, and headers come on top
    "dead-letters": {"cleanup.policy": ["delete"], "retention.ms": 30 * DAY_MS, "max.message.bytes": 2 << 20},
}
"""By the topic's default name."""
