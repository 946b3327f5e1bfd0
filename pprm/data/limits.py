"""What a record of the worker's topics may hold.

What is longer is cut, so that a model learns what can be published.

The numbers are those of `schemas.limits` and its models; a test compares them.
"""

from collections.abc import Mapping

from pprm.data.dataset import ShopProduct
from pprm.data.files import Note
from pprm.data.reading_report import Unusable
from pprm.data.rows import Event, ShopUser

SHORT = 512
"""Characters of a title, a brand, a category and an attribute."""
LONG = 8192
"""Characters of a description and of a review."""
ABOUT = 1024
"""Characters of what is known of a shopper."""
NAME = 64
"""Characters of an attribute's name."""
CATEGORIES, ATTRIBUTES = 8, 32


def fit_product(product: ShopProduct, note: Note) -> ShopProduct:
    """Return the product within the limits.

    Of a category path that is too long the end stays, since it says the most.
    """
    if len(product.categories) > CATEGORIES:
        note(Unusable(f"more than {CATEGORIES} categories: the last ones are taken"))
    return product._replace(
        title=_cut("title", product.title, SHORT, note),
        description=_cut("description", product.description, LONG, note),
        brand=_cut("brand", product.brand, SHORT, note),
        categories=[
            _cut("a category", part, SHORT, note) for part in product.categories[-CATEGORIES:]
        ],
        attributes=_attributes(product.attributes, note),
    )


def fit_user(user: ShopUser, note: Note) -> ShopUser:
    """A shopper within the limits."""
    return ShopUser(
        user.user_id, _cut("text", user.text, ABOUT, note), _attributes(user.attributes, note)
    )


def fit_event(event: Event, note: Note) -> Event:
    """An event within the limits."""
    return (
        event._replace(text=_cut("text", event.text, LONG, note))
        if len(event.text) > LONG
        else event
    )


def _attributes(attributes: Mapping[str, str], note: Note) -> dict[str, str]:
    if len(attributes) > ATTRIBUTES:
        note(Unusable(f"more than {ATTRIBUTES} attributes: the first ones are taken"))
    return {
        _cut("the name of an attribute", name, NAME, note): _cut("an attribute", value, SHORT, note)
        for name, value in list(attributes.items())[:ATTRIBUTES]
    }


def _cut(what: str, text: str, length: int, note: Note) -> str:
    if len(text) > length:
        note(Unusable(f"{what} of more than {length} characters is cut"))
    return text[:length]
