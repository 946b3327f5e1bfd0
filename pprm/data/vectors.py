"""Vectors of products made elsewhere, e.g. of their images: `.npz` or parquet."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pprm.data import formats
from pprm.data.cells import identity
from pprm.data.dataset import ShopProduct
from pprm.data.files import TableError

MAX_DIMENSIONS = 4096
LARGEST = 1e6
"""Both as in the topic `products`."""
HOW = (
    "write an .npz with the arrays product_id [n] and vector"
    " [n, dimensions], or parquet with the same columns"
)


def load_vectors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a vector for each product id, all of one dimension and finite.

    An `.npz` has the arrays `product_id` [n] (text or whole numbers) and `vector` [n, dimensions].
    Parquet has the column `product_id` and one column `vector` of lists, or, instead, one column of
    numbers per dimension.

    Raises:
        TableError: the file is missing or is not as described; nothing in it is executed.
    """
    try:
        ids, vectors = _parquet(path) if formats.is_parquet(path) else _npz(path)
        _check(ids, vectors)
    except (OSError, ValueError, KeyError, EOFError, pa.ArrowException) as error:
        raise TableError(f"{path}: {error}; {HOW}") from error
    return dict(zip(ids, vectors, strict=True))


def _npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("this is not an .npz")
        ids, vectors = file["product_id"], file["vector"]
    if ids.dtype.kind not in "Uiu":
        raise ValueError(f"product_id must hold text or whole numbers, not {ids.dtype}")
    return [str(one) for one in ids.tolist()], _float32(vectors)


def _parquet(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    table = pq.read_table(path)
    ids = [identity("product_id", one) for one in table["product_id"].to_pylist()]
    if "vector" in table.column_names:
        rows = table["vector"].to_pylist()
        if len({len(row) if row else 0 for row in rows}) > 1:
            raise ValueError("the vectors have different dimensions")
        vectors: Any = np.array(rows)
    else:
        columns = [table[name].to_numpy() for name in table.column_names if name != "product_id"]
        vectors = np.column_stack(columns) if columns else np.zeros((len(ids), 0))
    return ids, _float32(vectors)


def _float32(vectors: NDArray[Any]) -> NDArray[np.float32]:
    if vectors.dtype.kind not in "fiu":
        raise ValueError(f"the vectors must be numbers, not {vectors.dtype}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused below
        return vectors.astype(np.float32)


def _check(ids: list[str], vectors: NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or not vectors.size or len(vectors) != len(ids):
        raise ValueError(f"{len(ids)} product ids, but vectors of shape {list(vectors.shape)}")
    if not np.isfinite(vectors).all():
        worst = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"the vector of product {ids[worst]!r} has a value that is not finite")
    if len(set(ids)) < len(ids):
        raise ValueError("a product has two vectors")
    if vectors.shape[1] > MAX_DIMENSIONS or np.abs(vectors).max() > LARGEST:
        raise ValueError(
            f"vectors may have {MAX_DIMENSIONS} dimensions and"
            f" numbers up to {LARGEST:.0e}, as in a record"
        )


def added(products: Iterable[ShopProduct], path: Path) -> Iterator[ShopProduct]:
    """Products with the vectors of a file; those that it does not name stay without one.

    Raises:
        TableError: the file is not as described, or, at the end, names none of the products.
    """
    vectors, found = load_vectors(path), 0
    for product in products:
        vector = vectors.get(product.product_id)
        found += vector is not None
        yield product._replace(vector=vector)
    if not found:
        raise TableError(
            f"{path}: none of its {len(vectors)} vectors is"
            " of one of the products: compare their ids"
        )
