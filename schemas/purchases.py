"""Topic `purchases`, key: user_id."""

from typing import Annotated

from pydantic import Field

from schemas.limits import Attributes, Id, Message, Price, Time


class Purchase(Message):
    """A shopper bought a product."""

    event_id: Id
    user_id: Id
    product_id: Id
    occurred_at: Time
    quantity: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    price: Price | None = None
    basket_id: Annotated[
        Id | None, Field(description="purchases with one id form a basket; else those of one time do")
    ] = None
    store_id: Id | None = None
    attributes: Attributes | None = None
