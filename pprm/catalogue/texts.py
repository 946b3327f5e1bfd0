"""What the encoder reads.

There is one rule for shoppers and one for products, wherever their records come from.
"""

from collections.abc import Mapping, Sequence

from pprm.catalogue.markup import plain


def profile_text(text: str | None, attributes: Mapping[str, str]) -> str:
    """A shopper: the free text, then names and values in the order of the names; without markup."""
    return _sentences([text or "", *_pairs(attributes)])


def product_text(
    title: str, description: str, categories: Sequence[str], attributes: Mapping[str, str]
) -> str:
    """Return the text of a product: all its texts, without markup.

    Price, availability and the maker's name are left out.
    """
    return _sentences([title, description, *categories, *_pairs(attributes)])


def _pairs(attributes: Mapping[str, str]) -> list[str]:
    return [f"{name} {value}" for name, value in sorted(attributes.items())]


def _sentences(parts: Sequence[str]) -> str:
    return ". ".join(part for part in map(plain, parts) if part)
