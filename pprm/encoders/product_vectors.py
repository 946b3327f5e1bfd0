"""What the model reads of a product.

That is its own vector, made elsewhere, else the vector of its text.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Product
from pprm.encoders.encoder import Encoder


def texts(products: Sequence[Product], dimensions: int, encoder: Encoder) -> list[str]:
    """Return the text that the encoder has to read for each product.

    It is empty where the product has a vector of so many dimensions.
    """
    fits = encoder.dimensions == dimensions
    return [product.text if fits and product.vector is None else "" for product in products]


def vectors(products: Sequence[Product], dimensions: int, encoder: Encoder) -> NDArray[np.float32]:
    """Return the vector of each product, [n, dimensions].

    It is zero where a product has none and its text's would not fit.
    """
    out = np.zeros((len(products), dimensions), np.float32)
    if encoder.dimensions == dimensions:
        out[:] = encoder.encode(texts(products, dimensions, encoder))
    for row, product in enumerate(products):
        if product.vector is not None:
            out[row] = product.vector
    return out
