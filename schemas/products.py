"""Topic `products` (compacted), key: product_id. A null value withdraws the product."""

from typing import Annotated

from pydantic import Field

from schemas.limits import Attributes, Id, LongText, Message, Price, ShortText, Time


class Promotion(Message):
    """A product is promoted, in one store or in all."""

    store_id: Id | None = None
    display: Annotated[str, Field(max_length=64)] | None = None
    mailer: Annotated[str, Field(max_length=64)] | None = None
    until: Time | None = None


class Product(Message):
    """What the shop sells. Title, description, categories, brand and attributes are the text that PPRM reads."""

    product_id: Id
    updated_at: Time | None = None
    title: ShortText
    description: LongText = ""
    categories: Annotated[
        list[ShortText], Field(max_length=8, description="path, broadest first", default_factory=list)
    ]
    brand: ShortText = ""
    price: Price | None = None
    attributes: Annotated[
        Attributes, Field(description="business environment, opening hours ...", default_factory=dict)
    ]
    available: bool = True
    promotions: Annotated[list[Promotion], Field(max_length=1000, default_factory=list)]
