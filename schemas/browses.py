"""Topic `browses`, key: user_id."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.limits import Attributes, Id, Message, Time


class Browse(Message):
    """A shopper looked at a product, moved it to or from the cart, or does not want to see it.

    `hide` and `dislike`: never again in the shopper's lists, though it is bought later. What a
    shopper dislikes speaks no longer for what is like it; `hide` says nothing of their taste.
    """

    event_id: Id
    user_id: Id
    product_id: Id
    occurred_at: Time
    action: Literal["view", "search_click", "add_to_cart", "remove_from_cart", "dislike", "hide"]
    dwell_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    attributes: Attributes | None = None
