"""Topic `recommendations`, key: user_id. A null value: the shopper was forgotten."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.limits import Id, Message, Time

Reason = Literal[
    "bought_before",
    "due",
    "buys_type",
    "buys_category",
    "promoted",
    "tried_by_others",
    "trending",
    "similar_shoppers",
    "looked_at",
    "popular",
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Cause = Literal["event", "request", "refresh", "retraction"]
"""Why a list was made."""
CAUSES: tuple[Cause, ...] = get_args(Cause)


class Trigger(Message):
    """Why there is this list, and the record that it follows from.

    `event`, `request`: the last of the records that this list answers together. `refresh`: the list
    before was old; the record, mostly another shopper's, moved the partition's time to where this
    one was due. `retraction`: the record withdrew a product that the list before held.

    It serves to find a list by an event, not to put lists in order: after a crash the worker reads
    on from its last commit, and a list may name an earlier record than the one before it. `version`
    never goes back.
    """

    kind: Annotated[Cause, Field(description="lists of earlier versions have none")] = "event"
    topic: Annotated[str, Field(min_length=1, max_length=249)]
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    event_id: Annotated[
        Id | None, Field(description="null where the record has none: one of a product")
    ] = None


class ModelVersion(Message):
    """The model that scored."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: Annotated[Sha256, Field(description="of the artifact's list of hashes")]


class Item(Message):
    """A recommended product."""

    product_id: Id
    rank: Annotated[int, Field(ge=1, le=100)]
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="probability")]
    reasons: Annotated[list[Reason], Field(max_length=8)]


class Recommendation(Message):
    """A shopper's newest list.

    One whose `version` is not above that of the list you have is a repeat: drop it.
    """

    recommendation_id: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{32}$",
            description="hash of shopper, version, placement, model and"
            " items: one id is one content. Also the ce_id",
        ),
    ]
    user_id: Id
    version: Annotated[
        int,
        Field(
            ge=0,
            description="grows with every event of the shopper that the list knows of, and with"
            " every list that none asked for: keep the highest",
        ),
    ]
    generated_at: Time
    trigger: Trigger
    model: ModelVersion
    items: Annotated[list[Item], Field(max_length=100)]
