"""Topic `reviews`, key: user_id."""

from typing import Annotated

from pydantic import Field

from schemas.limits import Attributes, Id, LongText, Message, Time


class Review(Message):
    """A shopper's opinion of a product.

    Its sentiment is the one given, else the rating's, else the text's.
    """

    event_id: Id
    user_id: Id
    product_id: Id
    occurred_at: Time
    rating: (
        Annotated[float, Field(ge=1, le=5, allow_inf_nan=False, description="1 to 5 stars")] | None
    ) = None
    text: LongText | None = None
    sentiment: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    attributes: Attributes | None = None
