"""Topic `purchases`, key: user_id."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.limits import Attributes, Id, Message, Time


class Purchase(Message):
    """A shopper bought a product, or brought it back.

    A return takes back what its purchase counted: that in the basket named, else the newest of the
    product. Quantities are not counted, so it takes all of it back. A return of a product that is
    not known to be bought counts for nothing.
    """

    event_id: Id
    user_id: Id
    product_id: Id
    occurred_at: Time
    kind: Literal["purchase", "return"] = "purchase"
    quantity: Annotated[
        float,
        Field(
            ge=-1e6,
            le=1e6,
            allow_inf_nan=False,
            description="below 0: a return; 0: counts for nothing",
        ),
    ] = 1.0
    price: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] | None = None
    basket_id: Annotated[
        Id | None,
        Field(
            description="purchases with one id form a basket, else those"
            " of one time do; of a return: its purchase's"
        ),
    ] = None
    store_id: Id | None = None
    attributes: Attributes | None = None
