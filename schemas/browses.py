"""Topic `browses`, key: user_id."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.limits import Attributes, Id, Message, Time


class Browse(Message):
    """A shopper looked at a product or moved it to or from the cart."""

    event_id: Id
    user_id: Id
    product_id: Id
    occurred_at: Time
    action: Literal["view", "search_click", "add_to_cart", "remove_from_cart"]
    dwell_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    attributes: Attributes | None = None
