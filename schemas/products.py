"""Topic `products` (compacted), key: product_id. A null value withdraws the product."""

from typing import Annotated

from pydantic import Field

from schemas.limits import (
    Attributes,
    Categories,
    Id,
    Kept,
    LongText,
    Message,
    Price,
    ShortText,
    Time,
    Vector,
)


class Promotion(Message):
    """A product is promoted: in one store, in some, or in all where none is named.

    Send those of the last week along: how a promotion changed is part of what the model looks at.
    """

    store_id: Id | None = None
    store_ids: Annotated[list[Id], Field(max_length=1000, default_factory=list)]
    display: (
        Annotated[str, Kept(64), Field(description="where in the store it is on display")] | None
    ) = None
    mailer: (
        Annotated[
            str,
            Kept(64),
            Field(description="where in the mailer; with the word `feature`: prominent"),
        ]
        | None
    ) = None
    starts: Time | None = None
    until: Time | None = None


class Product(Message):
    """What the shop sells.

    Title, description, categories and attributes are the text that PPRM reads.
    """

    product_id: Id
    updated_at: Time | None = None
    title: ShortText
    description: LongText = ""
    categories: Annotated[
        Categories, Field(description="path, broadest first; 8 are kept", default_factory=list)
    ]
    brand: ShortText = ""
    price: Price | None = None
    attributes: Annotated[
        Attributes,
        Field(description="business environment, opening hours ...", default_factory=dict),
    ]
    available: bool = True
    promotions: Annotated[list[Promotion], Field(max_length=1000, default_factory=list)]
    vector: (
        Annotated[
            Vector,
            Field(description="made elsewhere, of an image for instance: read instead of the text"),
        ]
        | None
    ) = None
